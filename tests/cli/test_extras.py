"""Without the extra `operator`, every program that needs it says in one line what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleettui.extras import LIBRARIES, missing_extra
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import Fleet

ABSENT = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {LIBRARIES}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
REMEDY = "the operator's side is not installed here ({} is missing); run: pip install 'fleettui[operator]'\n"


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """Variables for a Python that has none of these libraries."""
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.etcd
@pytest.mark.usefixtures("fleet")
def test_fleetctl_does_what_it_can_and_names_the_extra_for_the_rest(
    fleetctl: Fleetctl, fleet: Fleet, without: dict[str, str]
) -> None:
    listed = fleetctl("list-machines", **without)
    assert listed.returncode == 0, listed.stderr
    for words in (["ssh", "core-1", "true"], ["--tunnel", "host", "list-machines"]):
        done = fleetctl(*words, **without)
        assert (done.returncode, done.stderr) == (1, f"Error: {REMEDY.format('asyncssh')}"), fleet


def test_the_console_names_the_extra(without: dict[str, str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        **without,
        "HOME": str(tmp_path),
        "TEXTUAL_DRIVER": "any",
    }  # which needs no terminal
    command = [str(Path(sys.executable).with_name("fleettui")), "--endpoint", "http://127.0.0.1:1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: the operator's side is not installed here (")
    assert done.stderr.count("\n") == 1


def test_another_missing_module_is_not_taken_for_it() -> None:
    assert missing_extra(ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")) == ""
    assert missing_extra(ModuleNotFoundError("textual.x", name="textual.x"))
