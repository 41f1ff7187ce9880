"""The command `fleet-agentd`: reads settings, sets up the log, runs the agent. Every error is one line."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import agentd
from agentd.service import Agent, place
from registry.config import SYSTEM_FILE, Settings, load, operator_files, put
from registry.errors import FleetError, UserError

log = logging.getLogger("fleet.agent")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; the exit status is 0 after an end in order, 1 after an error, 2 for wrong usage."""
    options = _parser().parse_args(argv)
    _set_up_log(debug=options.debug or bool(os.environ.get("FLEET_DEBUG")))
    try:
        settings = _settings(options)
        lock = _lock(place(settings, os.environ).state)
        with lock:
            asyncio.run(_run(settings, hand_over=options.hand_over))
    except FleetError as error:
        print(f"fleet-agentd: {error}", file=sys.stderr)
        return 1
    except BaseExceptionGroup as group:
        print(f"fleet-agentd: {_first(group)}", file=sys.stderr)
        log.debug("ended by", exc_info=group)
        return 1
    return 0


async def _run(settings: Settings, *, hand_over: bool) -> None:
    await Agent(settings, os.environ, hand_over=hand_over).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet-agentd", description="Make this machine's systemd match its schedule, and report what it sees."
    )
    parser.add_argument("--config", type=Path, help="configuration file (default: /etc/fleet/fleet.toml)")
    parser.add_argument("--endpoints", help="etcd endpoints, comma separated")
    parser.add_argument("--user", action="store_true", help="run units on the user's own systemd")
    parser.add_argument("--hand-over", action="store_true", help="stop and hand back every unit at any SIGTERM")
    parser.add_argument("--debug", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=f"fleet-agentd {agentd.__version__}")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    defaults = operator_files(os.environ) if options.user else (SYSTEM_FILE,)
    settings = load(options.config, os.environ, defaults)
    if options.endpoints:
        endpoints = [each.strip() for each in options.endpoints.split(",") if each.strip()]
        settings = put(settings, "etcd", "endpoints", endpoints, "--endpoints")
    return put(settings, "agent", "bus", "user", "--user") if options.user else settings


def _set_up_log(*, debug: bool) -> None:
    """Plain lines: the journal adds the time and our name."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("fleet").setLevel(logging.DEBUG if debug else logging.INFO)


def _lock(directory: Path) -> IO[str]:
    """One agent for one directory. Raises UserError when another has it."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = (directory / "agent.lock").open("w")
    except OSError as error:
        raise UserError(f"cannot use {directory}: {error.strerror}; run as root, or with --user") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f"another fleet-agentd already runs on {directory}; stop it first") from None
    return lock


def _first(group: BaseExceptionGroup) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, FleetError) else RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
