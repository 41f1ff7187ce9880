"""`fleettui record`: keep what changes in the registry, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from fleettui.cli.connection import open_operator, read_settings
from fleettui.record.places import SYSTEM, own_directory
from fleettui.record.recorder import Recorder
from fleettui.record.writer import Bounds, RecordWriter
from registry.program import collector, daemonlog
from registry.program.config import Settings
from registry.program.notify import Notifier
from registry.units.amounts import size_bytes, span_s

LEAST_BYTES = 16 << 20

EPILOG = f"""The console reads it: fleettui --at "02:10". Each file is gzip of JSON lines and stands for itself.
It holds all unit files and all that operators wrote: it is as secret as the registry, and private.
fleet-record.service runs it all the time, into {SYSTEM}. See docs/record.md."""


def parser() -> argparse.ArgumentParser:
    """Return the command line, with its help."""
    made = argparse.ArgumentParser(
        prog="fleettui record",
        description="Keep what changes in the fleet, to see later how it was. Only reads the registry.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--directory", type=Path, metavar="DIR", help="where to (~/.local/state/fleet/record)")
    made.add_argument("--max-size", default="2G", metavar="SIZE", help="delete the oldest beyond it (2G)")
    made.add_argument("--max-age", default="14d", metavar="DURATION", help="delete what is older (14d)")
    made.add_argument(
        "--config",
        metavar="FILE",
        help="the configuration (~/.config/fleet/, else /etc/fleet/fleet.toml)",
    )
    made.add_argument("--endpoint", metavar="URL,…", help="etcd's endpoints")
    made.add_argument("--prefix", metavar="KEY", help="the registry's keys lie below it (/fleet/)")
    return made


def main(argv: Sequence[str]) -> int:
    """Record until SIGTERM or SIGINT; the exit code. UserError for what cannot be done at all."""
    flags = parser().parse_args(argv)
    settings = read_settings(flags, os.environ)
    bounds = Bounds(max(size_bytes(flags.max_size), LEAST_BYTES), span_s(flags.max_age))
    daemonlog.set_up("fleettui record", debug=bool(os.environ.get("FLEET_DEBUG")))
    collector.relax()
    writer = RecordWriter(flags.directory or own_directory(os.environ), bounds)
    return daemonlog.run(
        "fleettui record", lambda: asyncio.run(_record(settings, writer)), Notifier(os.environ).status
    )


async def _record(settings: Settings, writer: RecordWriter) -> None:
    """Record until a signal comes."""
    notifier = Notifier(os.environ)
    async with open_operator(settings, warn=False) as operator:
        recorder = Recorder(operator.etcd, operator.keys, writer, notifier.status)
        await notifier.run_until_signal(recorder.run(), "record")
