"""fleet-scheduler: decides which machine runs each unit. Any number may run; one leads.

Owns the command line, the log and the signals. Errors are one line on stderr and exit 1.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from registry import collector, config
from registry.errors import FleetError
from registry.etcd import Etcd, EtcdSettings
from scheduler.service import Scheduler

log = logging.getLogger("fleet.scheduler")

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scheduler until SIGTERM or SIGINT; returns the exit code."""
    options = _parser().parse_args(arguments)
    _set_up_log(debug=options.debug or bool(os.environ.get("FLEET_DEBUG")))
    collector.relax()
    try:
        settings = _settings(options)
        asyncio.run(_run(settings))
    except FleetError as error:
        return _fail(str(error))
    except BaseExceptionGroup as group:
        return _fail(_first_reason(group))
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet-scheduler",
        description="Decides which machine runs each unit. Run it on one machine or on several; one of them leads.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration (default: {config.SYSTEM_FILE})"
    )
    parser.add_argument("--endpoints", metavar="URL[,URL...]", help="etcd's endpoints, over the configuration")
    parser.add_argument("--debug", action="store_true", help="log in detail")
    parser.add_argument("--version", action="version", version=f"fleet-scheduler {version('fleettui')}")
    return parser


def _settings(options: argparse.Namespace) -> config.Settings:
    settings = config.load(options.config, os.environ, (config.SYSTEM_FILE,))
    if options.endpoints is not None:
        endpoints = [each.strip() for each in options.endpoints.split(",") if each.strip()]
        settings = config.put(settings, "etcd", "endpoints", endpoints, "--endpoints")
    return settings


async def _run(settings: config.Settings) -> None:
    """Schedule until a signal comes, then resign."""
    async with Etcd(EtcdSettings.of(settings.etcd)) as client:
        work = asyncio.create_task(Scheduler(client, settings, socket.gethostname()).run(), name="scheduler")
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        with suppress(asyncio.CancelledError):
            await work


def _set_up_log(*, debug: bool) -> None:
    """To stderr: with priorities and without time where journald reads it, for people elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    journald = "JOURNAL_STREAM" in os.environ
    form = "%(message)s" if journald else "%(asctime)s %(levelname)s %(message)s"
    handler.setFormatter(_JournaldFormatter(form) if journald else logging.Formatter(form))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class _JournaldFormatter(logging.Formatter):
    """Begins each line with the priority that journald understands (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{PRIORITIES.get(record.levelno, 6)}>{super().format(record)}"


def _first_reason(group: BaseExceptionGroup[BaseException]) -> str:
    """The text of what ended the program; an error that nobody foresaw keeps its trace in the debug log."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, FleetError):
        return str(error)
    log.debug("unforeseen error", exc_info=error)
    return f"unforeseen error {type(error).__name__}: {error}; run with --debug for details"


def _fail(reason: str) -> int:
    sys.stderr.write(f"fleet-scheduler: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
