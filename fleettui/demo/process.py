"""Run this host's tools, with a time-out on each; failures are one line that names the tool."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from registry.errors import FleetError

Completed = subprocess.CompletedProcess[str]


class ToolFailed(FleetError):
    """A tool of the host ended with an error, hung, or is not there."""


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float = 30,
    check: bool = True,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Completed:
    """Run a tool to its end, its output captured. `text` is its standard input. Raises ToolFailed."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=text or "",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
            env=environment,
            cwd=directory,
        )
    except FileNotFoundError as error:
        raise ToolFailed(f"{words[0]} is not installed; run `make setup`") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{' '.join(words)} did not end within {timeout_s:g} s") from error
    if check and done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise ToolFailed(f"{' '.join(words)} ended with {done.returncode}: {lines[-1]}")
    return done


def spawn(argv: Sequence[str | Path], log: Path) -> None:
    """Start a program that outlives us, with its output in `log`; the caller finds it by its cgroup."""
    words = ["setsid", "--fork", *map(str, argv)]
    with log.open("ab") as output:
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=10, check=True)


def wait_until(what: str, ready: Callable[[], bool], *, timeout_s: float, interval_s: float = 0.02) -> None:
    """Wait for a condition of the host that nothing announces. Raises ToolFailed at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise ToolFailed(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(interval_s)
