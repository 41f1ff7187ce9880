"""A record of the small fleet: what the console is given by `--at`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleettui.console.pages.bands import FleetIdentity
from fleettui.console.program import NO_JOURNAL
from fleettui.console.sources.replay import NoPastHosts, NoPastJournals, NoPastPort, Replay
from fleettui.record.format import Head, Moment, Values
from fleettui.record.writer import Bounds, RecordWriter
from registry.keys import Keys, Table
from registry.mirror import SINGLES, Snapshot
from registry.model import Usage
from registry.records import encode
from tests.console.fleetshow import CORES, NOW, scene

KEYS = Keys()
TEMPORARY = tempfile.TemporaryDirectory()  # until the end of the process


def values(snapshot: Snapshot) -> Values:
    """All that the registry holds, as a recorder writes it."""
    found: dict[str, bytes | None] = {}
    for table in Table:
        rows = getattr(snapshot, table)
        for key, row in ({"": rows} if table in SINGLES else rows).items():
            parts = key if isinstance(key, tuple) else tuple(reversed(key.split("/")))
            if row is not None:
                found["/".join(each for each in (table, *parts) if each)] = encode(row)
    return found


def recorded(directory: Path, first: Snapshot, *later: Snapshot, every_s: float = 60) -> None:
    """A record that begins with one snapshot at NOW, and has another each minute."""
    writer = RecordWriter(directory, Bounds(1 << 30, 1e9))
    before = values(first)
    writer.begin(Head(NOW, "c1", "/fleet/", "watch-1", "0.1.0"), Moment(NOW, 1, before, whole=True, link="live"))
    for number, each in enumerate(later, 1):
        after = values(each)
        gone = dict.fromkeys(before.keys() - after.keys())
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        writer.write(Moment(NOW + number * every_s, number + 1, {**changed, **gone}))
        before = after
    os.close(writer._lock)


def bereaved() -> Snapshot:
    """core-3 is lost, with all that ran there."""
    world = scene()
    lost = CORES[3]
    return replace(
        world,
        machines={id_: each for id_, each in world.machines.items() if id_ != lost},
        states={pair: each for pair, each in world.states.items() if pair[0] != lost},
    )


def past(directory: Path, at: float = NOW + 5, now: float = NOW + 7 * 3600) -> dict[str, Any]:
    """What the console's context is of a record."""
    replay = Replay.opened(directory, at, lambda: now)
    return {
        "feed": replay, "replay": replay, "saved": NO_JOURNAL, "clock": replay.clock, "read_only": True,
        "port": NoPastPort(),
        "journals": NoPastJournals(), "hosts": NoPastHosts(),
        "identity": FleetIdentity("demo", "watch-1", "record"),
    }  # fmt: skip


def remembered() -> Mapping[str, object]:
    """The small fleet, seven hours later."""
    directory = Path(tempfile.mkdtemp(dir=TEMPORARY.name))
    recorded(directory, scene(), bereaved())
    return past(directory)


def busy() -> Mapping[str, object]:
    """The small fleet after an hour in which core-2 got busy."""
    directory, world, core = Path(tempfile.mkdtemp(dir=TEMPORARY.name)), scene(), CORES[2]
    worlds = []
    for minute in range(60):
        used = round(1 + 5 * (minute / 60) ** 2 + (minute % 7) / 5, 2)
        usage = Usage(core, NOW, (used / 2, 0.0, 0.0), 8 << 30, int((8 - used) * (1 << 30)), (),
                      pressure=(used, 0.0, 2 * used), disk_bytes=40 << 30, disk_free_bytes=9 << 30)  # fmt: skip
        worlds.append(replace(world, usage={core: usage}))
    recorded(directory, *worlds)
    return past(directory, NOW + 59 * 60) | {"trends": directory}
