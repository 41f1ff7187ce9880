"""The command `fleet-agentd`: reads settings, sets up the log, runs the agent. Every error is one line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from agentd.agent import Agent, Paths
from agentd.unit_directory import unusable
from registry.errors import UserError
from registry.etcd.endpoint import base_urls
from registry.keys import Keys
from registry.program import daemonlog
from registry.program.config import SYSTEM_FILE, EtcdTable, load, operator_files, put, put_text
from registry.program.notify import Notifier
from registry.program.start_failures import StartFailures
from registry.program.version import installed_version


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; the exit status is 0 after an end in order, 1 after an error, 2 for wrong usage."""
    options = parser().parse_args(argv)
    daemonlog.set_up("fleet-agentd", debug=options.debug or bool(os.environ.get("FLEET_DEBUG")))
    files = operator_files(os.environ) if options.user else (SYSTEM_FILE,)
    failures = StartFailures(os.environ, (options.config,) if options.config else files)
    return daemonlog.run("fleet-agentd", lambda: _work(options, files), Notifier(os.environ).status, failures)


def parser() -> argparse.ArgumentParser:
    """Return the command line, with its help."""
    made = argparse.ArgumentParser(
        prog="fleet-agentd",
        description="Make this machine's systemd match its schedule, and report what it sees.",
        allow_abbrev=False,
    )
    made.add_argument("--config", type=Path, metavar="FILE", help=f"the configuration file ({SYSTEM_FILE})")
    made.add_argument("--endpoints", metavar="URL,…", help="etcd's endpoints, over the configuration")
    made.add_argument("--user", action="store_true", help="run units on the user's own systemd")
    made.add_argument("--hand-over", action="store_true", help="stop and hand back every unit at any SIGTERM")
    made.add_argument("--debug", action="store_true", help="log in detail")
    made.add_argument(
        "--version", action="version", version=f"fleet-agentd {installed_version()}", help="print the version"
    )
    return made


def _work(options: argparse.Namespace, files: tuple[str, ...]) -> None:
    settings = load(options.config, os.environ, files)
    if options.endpoints:
        settings = put_text(settings, "etcd", "endpoints", options.endpoints, "--endpoints")
    if options.user:
        settings = put(settings, "agent", "bus", "user", "--user")
    with _lock(Paths.of(settings, os.environ).state, settings.etcd):
        asyncio.run(Agent(settings, os.environ, hand_over=options.hand_over).run())


def _lock(directory: Path, etcd: EtcdTable) -> IO[str]:
    """One agent for one directory; the file says which registry it obeys. Raises UserError when another has it."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = (directory / "agent.lock").open("a")  # what it says is its holder's
    except OSError as error:
        raise unusable(directory, error, "run as root, or with --user") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f"another fleet-agentd already runs on {directory}; stop it first") from None
    obeyed = {"endpoints": base_urls(etcd.client_settings()), "prefix": Keys.under(etcd.prefix).prefix}
    with contextlib.suppress(OSError):  # a full disk: an operator's program reaches this machine by SSH then
        lock.truncate(0)
        lock.write(json.dumps(obeyed))
        lock.flush()
    return lock


if __name__ == "__main__":
    sys.exit(main())
