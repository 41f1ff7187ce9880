"""Whether the fleet survives the loss of any one machine: what the header says, and whether that is so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from fleettui.console.pages.bands import FleetIdentity, Totals, header_line
from fleettui.console.sources import losses
from fleettui.console.sources.losses import LossWatch
from fleettui.console.tables.fleet import Reading
from fleettui.console.tables.rows import Health
from fleettui.console.text.cells import line_text
from placement.preview import Loss, preview_without
from registry.keys import DEFAULT_KEYS, Address, Keys, Table
from registry.mirror import Snapshot
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import scene

HERE = FleetIdentity("demo", "root", "10.91.0.1:2379")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CALM_S", 0.0)
    monkeypatch.setattr(losses, "LEAST_S", 0.0)


async def until(fact: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def header(loss: tuple[str, int] | None, width: int) -> str:
    totals = Totals({Health.ACTIVE: 14, Health.FAILED: 1}, 3, 3, loss=loss)
    reading = Reading(scene(), None, ConnectionState.LIVE)
    return "".join(map(line_text, header_line(HERE, reading, totals, 0.1, width)))


@pytest.mark.parametrize(
    ("loss", "width", "told"),
    [
        (None, 140, ""), (("", 0), 160, "any 1 lost: ok"), (("", 0), 150, "any 1 lost: ok"), (("", 0), 78, ""),
        (("core-2", 3), 140, "core-2 lost: 3 wait"), (("core-2", 1), 78, "core-2 lost: 1 waits"),
        (("core-2\x1b[2J", 3), 140, "lost: 3 wait"), (("core-2", 1), 78, "3/3"), (("core-2", 12), 70, "3/3"),
    ],
)  # fmt: skip
def test_the_header_says_it_where_there_is_room_and_what_is_wrong_before_anything_else(
    loss: tuple[str, int] | None, width: int, told: str
) -> None:
    text = header(loss, width)
    assert told in text
    assert told or ("machine:" not in text and "lost" not in text)
    assert "\x1b" not in text
    assert len(text) <= width


@pytest.mark.parametrize("place", [HERE, replace(HERE, protected=True), replace(HERE, read_only=True)])
def test_the_header_says_how_many_machines_are_up_at_80_columns_whatever_else_it_says(place: FleetIdentity) -> None:
    reading = Reading(scene(), None, ConnectionState.LIVE)
    for loss in (None, ("", 0), ("core-2", 3), ("core-10", 1200)):
        totals = Totals({Health.ACTIVE: 14, Health.FAILED: 1}, 2, 3, loss=loss)
        assert "2/3" in "".join(map(line_text, header_line(place, reading, totals, 0.1, 78)))


async def test_every_machine_is_asked_by_the_rules_that_decide_and_again_after_a_change() -> None:
    snapshot, watch = scene(), LossWatch(DEFAULT_KEYS)
    counts = {each: len(preview_without(snapshot, [each]).waits) for each in snapshot.machines}
    worst = max(counts, key=lambda each: (counts[each], each))
    expected = (worst, counts[worst]) if counts[worst] else ("", 0)
    running = asyncio.create_task(watch.run())
    try:
        watch.update(Reading(snapshot, None, ConnectionState.LIVE))
        assert watch.worst() is None  # nobody knows yet
        await until(lambda: watch.worst() == expected)
        alone = replace(snapshot, machines={worst: snapshot.machines[worst]})
        changed = frozenset(Address(Table.MACHINES, each) for each in snapshot.machines if each != worst)
        without = len(preview_without(alone, [worst]).waits)
        watch.update(Reading(alone, changed, ConnectionState.LIVE))
        await until(lambda: watch.worst() == (worst, without))
        watch.update(Reading(alone, frozenset(), ConnectionState.LOST))
        assert watch.worst() is None  # what is stale tells nothing
    finally:
        running.cancel()


async def test_states_and_usage_are_no_reason_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot, watch, asked = scene(), LossWatch(DEFAULT_KEYS), list[str]()

    def preview(found: Snapshot, names: Sequence[str], keys: Keys) -> Loss:
        asked.extend(names)
        return preview_without(found, names, keys)

    monkeypatch.setattr(losses, "preview_without", preview)
    running = asyncio.create_task(watch.run())
    try:
        watch.update(Reading(snapshot, None, ConnectionState.LIVE))
        await until(lambda: len(asked) >= len(snapshot.machines) and watch.worst() is not None)
        first = len(asked)
        for machine, unit in list(snapshot.states)[:5]:
            address = Address(Table.STATES, machine, unit)
            watch.update(Reading(snapshot, frozenset({address}), ConnectionState.LIVE))
        await asyncio.sleep(0.2)
        assert len(asked) == first
    finally:
        running.cancel()
