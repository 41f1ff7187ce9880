"""A daemon that cannot start under systemd: told once, tried again when its configuration has changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.errors import UserError
from registry.program import daemonlog, start_failures
from registry.program.start_failures import StartFailures

BROKEN = "fleet.toml: no such key"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text("ttl = nonsense")
    return tmp_path


def failing(files: Path, text: str = BROKEN) -> tuple[int, list[str]]:
    """One start: its exit status, and what its status said last."""
    said: list[str] = []
    failures = StartFailures({"RUNTIME_DIRECTORY": str(files)}, [files / "fleet.toml"])

    def work() -> None:
        raise UserError(text)

    return daemonlog.run("fleetd", work, said.append, failures), said


def test_the_first_failure_ends_at_once_and_the_next_ones_wait_and_only_say_it_in_their_status(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start_failures, "PAUSE_S", 0.3)
    monkeypatch.setattr(start_failures, "LOOK_S", 0.01)
    began = time.monotonic()
    assert failing(files)[0] == 1
    assert time.monotonic() - began < 0.3
    for _ in range(2):
        began = time.monotonic()
        status, said = failing(files)
        assert (status, said) == (1, [f"cannot start: {BROKEN}; trying again when the configuration has changed"])
        assert time.monotonic() - began >= 0.3
    assert failing(files, "another error")[1] == ["ended: another error"]
    assert capsys.readouterr().err.splitlines() == [f"fleetd: {BROKEN}", "fleetd: another error"]


def test_an_error_that_was_said_long_ago_is_news(files: Path) -> None:
    failing(files)
    old = time.time() - 3 * start_failures.PAUSE_S
    os.utime(files / start_failures.FILE, (old, old))
    assert failing(files)[1] == [f"ended: {BROKEN}"]


def test_without_systemd_nothing_is_waited_for(files: Path) -> None:
    failures = StartFailures({}, [files / "fleet.toml"])
    assert failures.is_news(BROKEN)
    assert failures.is_news(BROKEN)


SCRIPT = """
import sys
from pathlib import Path
from registry.program.start_failures import StartFailures
failures = StartFailures({"RUNTIME_DIRECTORY": sys.argv[1]}, [Path(sys.argv[1], "fleet.toml")])
failures.is_news("broken")
print("waiting", flush=True)
failures.wait("broken")
"""


@pytest.mark.parametrize("how", ["mended", "removed", "stopped"])
def test_a_mended_file_or_a_stop_ends_the_wait(files: Path, how: str) -> None:
    waiting = subprocess.Popen([sys.executable, "-c", SCRIPT, str(files)], stdout=subprocess.PIPE, text=True)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "waiting\n"
    time.sleep(0.2)
    assert waiting.poll() is None
    if how == "mended":
        (files / "fleet.toml").write_text("")
    elif how == "removed":
        (files / "fleet.toml").unlink()
    else:
        waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(15) == (1 if how == "stopped" else 0)
    assert (files / start_failures.FILE).exists() == (how != "stopped")
    waiting.stdout.close()
