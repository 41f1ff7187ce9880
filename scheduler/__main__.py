"""fleet-scheduler: decides which machine runs each unit. Any number may run; one leads.

Owns the command line, the log and the signals. Errors are one line on stderr and exit 1.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from registry.etcd import Etcd
from registry.keys import Keys
from registry.messages import HISTORY_ACCEPTED, HISTORY_WENT_BACK
from registry.program import collector, config, daemonlog
from registry.program.notify import Notifier
from registry.program.start_failures import StartFailures
from registry.program.version import installed_version
from registry.sync.history import REMEDY, History, read_seen, write_seen
from scheduler.service import Scheduler

log = logging.getLogger("fleet.scheduler")

HISTORY_FILE = "history.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scheduler until SIGTERM or SIGINT; returns the exit code."""
    options = parser().parse_args(arguments)
    daemonlog.set_up("fleet-scheduler", debug=options.debug or bool(os.environ.get("FLEET_DEBUG")))
    collector.relax()
    failures = StartFailures(os.environ, (options.config or config.SYSTEM_FILE,))

    def work() -> None:
        settings = config.load(options.config, os.environ, (config.SYSTEM_FILE,))
        if options.endpoints is not None:
            settings = config.put_text(settings, "etcd", "endpoints", options.endpoints, "--endpoints")
        asyncio.run(_run(settings))

    return daemonlog.run("fleet-scheduler", work, Notifier(os.environ).status, failures)


def parser() -> argparse.ArgumentParser:
    """Return the command line, with its help."""
    made = argparse.ArgumentParser(
        prog="fleet-scheduler",
        description="Decide which machine runs each unit, on one machine or on several; one of them leads.",
        allow_abbrev=False,
    )
    made.add_argument("--config", type=Path, metavar="FILE", help=f"the configuration file ({config.SYSTEM_FILE})")
    made.add_argument("--endpoints", metavar="URL,…", help="etcd's endpoints, over the configuration")
    made.add_argument("--debug", action="store_true", help="log in detail")
    made.add_argument(
        "--version", action="version", version=f"fleet-scheduler {installed_version()}", help="print the version"
    )
    return made


def _history(settings: config.Settings) -> History:
    """What this scheduler has acted on, over its restarts where systemd gives it a directory for its state."""
    directory = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    path = Path(directory, HISTORY_FILE) if directory else None

    def log_change(held: str) -> None:
        if held:
            text = "the registry's history went back: %s; deciding nothing; %s"
            log.error(text, held, REMEDY, extra=HISTORY_WENT_BACK.of())
        else:
            log.warning("the registry's history was accepted; deciding again", extra=HISTORY_ACCEPTED.of())

    history = History(
        Keys.under(settings.etcd.prefix),
        read_seen(path) if path else None,
        (lambda seen: write_seen(path, seen)) if path else None,
        told=log_change,
        pinned=False,
    )
    if history.held:
        log_change(history.held)
    return history


async def _run(settings: config.Settings) -> None:
    """Schedule until a signal comes, then resign."""
    notifier = Notifier(os.environ)
    history = _history(settings)
    async with Etcd(settings.etcd.client_settings()) as client:
        scheduler = Scheduler(client, settings, socket.gethostname(), notifier.status, history)
        await notifier.run_until_signal(scheduler.run(), "scheduler")


if __name__ == "__main__":
    sys.exit(main())
