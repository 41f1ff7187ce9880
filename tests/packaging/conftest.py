"""The packages, built once for all tests, and once more from a copy of the source."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CACHE = ROOT / "build/vendored"
LEFT_OUT = (
    "./.git",
    "./.venv",
    "./build",
    "./dist",
    "tests/artifacts",
    "*/__pycache__",
    "./.*_cache",
    "./screenshots",
)


@dataclass(frozen=True)
class Built:
    """What came of one build."""

    files: list[Path]

    @property
    def debs(self) -> list[Path]:
        return [path for path in self.files if path.suffix == ".deb"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The packages of this source tree."""
    return _build(ROOT, tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def built_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The packages of a copy that lies elsewhere and is not in git."""
    place = tmp_path_factory.mktemp("elsewhere")
    (place / "source").mkdir()
    excluded = [f"--exclude={each}" for each in LEFT_OUT]
    with subprocess.Popen(["tar", "--create", *excluded, "."], cwd=ROOT, stdout=subprocess.PIPE) as packed:
        subprocess.run(["tar", "--extract"], cwd=place / "source", stdin=packed.stdout, check=True)
    return _build(place / "source", place / "out")


def _build(source: Path, out: Path) -> Built:
    command = [sys.executable, str(source / "packaging/build"), "--out", str(out), "--cache", str(CACHE)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1767225600", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(sorted(out.iterdir()))
