"""Unit files that are given as examples are ones that systemd takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

UNITS = sorted(
    path for path in (Path(__file__).parent.parent / "contrib").rglob("*") if path.suffix in (".service", ".timer")
)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_it(path: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
