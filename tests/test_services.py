"""The unit files that packages, join and the local cluster install: a daemon that is taken over can do little."""

from __future__ import annotations

import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from fleettui.services import unit_files

WORST = 25  # of systemd-analyze security, in tenths; above 50 is "medium"
FOLDER = Path(str(resources.files("fleettui.services")))
UNITS = ["fleet-agentd.service", "fleet-scheduler.service"]


RECORD = "../record/fleet-record.service"


@pytest.mark.parametrize("unit", [*UNITS, RECORD])
def test_what_a_unit_may_do_is_little(unit: str) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={WORST}", FOLDER / unit]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_units_start_the_programs_that_are_meant() -> None:
    found = unit_files(Path("/opt/fleet/current/bin"))
    assert [*sorted(found)] == UNITS
    for unit, text in found.items():
        program = unit.removesuffix(".service")
        assert f"\nExecStart=/opt/fleet/current/bin/{program}\n" in text
        assert text.count("/usr/bin") == 0
