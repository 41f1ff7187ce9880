"""The gate: with FLEET_REQUIRE_CLUSTER a skipped cluster test fails the run, and nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = """
import pytest
@pytest.mark.{marker}
def test_it():
    {body}
"""
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("marker", "body", "required", "code"),
    [
        ("cluster", "pytest.skip('no root')", "1", 1),
        ("etcd", "pytest.skip('no etcd')", "1", 1),
        ("cluster", "pytest.skip('no root')", "", 0),
        ("cluster", "pytest.skip('no root')", "0", 0),
        ("filterwarnings('error')", "pytest.skip('a test that asks for no machine may')", "1", 0),
        ("cluster", "pass", "1", 0),
        ("cluster", "pytest.xfail('known')", "1", 0),
    ],
)
def test_a_skip_of_a_required_test_fails_the_run(
    tmp_path: Path, marker: str, body: str, required: str, code: int
) -> None:
    (tmp_path / "test_case.py").write_text(CASES.format(marker=marker, body=body))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.cluster_required", "-p", "no:cacheprovider",
         "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, tmp_path],
        cwd=ROOT, env=os.environ | {"FLEET_REQUIRE_CLUSTER": required}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert code == 0 or "FLEET_REQUIRE_CLUSTER is set" in done.stdout


def test_help_explains_every_target() -> None:
    targets = ["setup", "demo", "test", "check", "lint", "types", "bench", "screenshots"]
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not [name for name in targets if f"{name} " not in shown.stdout.replace("\x1b[0m", " ")]
