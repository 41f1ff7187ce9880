"""Nothing is shown that is not known: stale is dimmed with its age, and what is wrong is said where one looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from fleettui.cli.connection import open_operator
from fleettui.console.operations.impact_text import stopping_lines
from fleettui.console.operations.operation import Operation, OperationPhase, history_lines, operation_lines
from fleettui.console.operations.verbs import MachineVerb
from fleettui.console.pages.bands import FleetIdentity, Totals, banner, header_line
from fleettui.console.sources.feed import Live
from fleettui.console.tables.fleet import APART_S, FOR_S, LARGE_S, Clocks, Reading
from fleettui.console.text.cells import line_text
from fleettui.doctor.expiry import Expiry
from fleettui.verbs import Verb
from registry.etcd import Etcd, EtcdSettings
from registry.keys import Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import Corrupt, Event, Sentinel, Target
from registry.program.config import EtcdTable, Settings
from registry.sync.follow import ConnectionState
from registry.sync.sentinel import ensure_cluster
from tests.certificates import Authority
from tests.console.fleetshow import CORES, EXPORTER, NOW, PLAIN, build, scene, state
from tests.console.test_screen import playing
from tests.etcd_server import EtcdServer, free_ports

KEYS = ("Esc", "u", "a")


async def test_a_lost_link_counts_down_dims_and_says_how_old_the_tables_are() -> None:
    async with playing() as play:
        play.stage.feed.pause_s = 3.2
        await play.show(scene(), ConnectionState.LOST, "timed out")
        play.stage.now += 75
        play.main._tick()
        assert "connection lost 75 s ago, trying again in 4 s" in play.text("banner")
        assert "as of 75 s ago" in play.table()
        play.stage.feed.pause_s = None
        play.main._tick()
        assert "trying again now" in play.text("banner")
        await play.show(scene())
        assert "as of" not in play.table()
        assert play.text("banner") == ""


@pytest.mark.parametrize(
    ("link", "told"),
    [
        (ConnectionState.FOREIGN, "not this fleet's registry for 9 s"),
        (ConnectionState.DENIED, "refuses this user for 9 s"),
    ],
)
async def test_a_foreign_or_denying_registry_is_named_with_its_age(link: ConnectionState, told: str) -> None:
    async with playing() as play:
        await play.show(scene(), link, "why")
        play.stage.now += 9
        play.main._tick()
        assert told in play.text("banner")


async def test_without_a_leader_the_header_says_since_when() -> None:
    async with playing() as play:
        await play.show(replace(scene(), leader=None))
        play.stage.now += 90
        play.main._tick()
        assert "✖ no scheduler leads for 90 s" in play.text("header")
        await play.show(scene())
        assert "leader core-2" in play.text("header")


async def test_a_fleet_that_holds_everything_says_so_below_the_header() -> None:
    reason = "it is at revision 3, and 9 was acted on"
    async with playing() as play:
        await play.show(replace(scene(), cluster=Sentinel("c1", held=reason)))
        assert "history went back, everything is held: fleetctl restore" in play.text("banner")
        await play.show(scene())
        assert play.text("banner") == ""


async def test_corrupt_records_are_counted_with_where_to_look() -> None:
    async with playing() as play:
        bad = {key: Corrupt(key, "no JSON") for key in ("/fleet/units/a.service", "/fleet/units/b.service")}
        await play.show(replace(scene(), corrupt=bad))
        assert "2 corrupt records, the first: /fleet/units/a.service" in play.text("banner")
        assert "etcdctl get /fleet/units/a.service" in play.text("banner")


def test_of_a_registry_that_never_answered_nothing_is_said_of_its_scheduler_or_of_what_is_seen() -> None:
    here = FleetIdentity("demo", "root", "10.91.0.1:2379")
    for snapshot, knows in ((Snapshot(), False), (replace(scene(), leader=None), True)):
        reading, totals = Reading(snapshot, link=ConnectionState.LOST), Totals({}, 0, 0, leaderless_s=20.0)
        header = "".join(map(line_text, header_line(here, reading, totals, 0.1, 138)))
        assert ("no scheduler" in header) is knows
        assert ("what you see is as of then" in line_text(banner(reading, here, 20.0, totals))) is knows


def told_of(*clocks: tuple[str, float]) -> str:
    seen = Clocks()
    for later_s in (0.0, APART_S):
        hear(seen, later_s, *clocks)
    return seen.status_text()


def hear(seen: Clocks, later_s: float, *clocks: tuple[str, float]) -> None:
    now = NOW + later_s
    events = {f"{n}": Event(f"{n}", now + ahead, actor, "start") for n, (actor, ahead) in enumerate(clocks)}
    seen.update(Snapshot(events=events), frozenset(Address(Table.EVENTS, key) for key in events), now)


async def test_an_endpoint_of_etcd_that_is_down_stands_below_the_header() -> None:
    async with playing() as play:
        play.stage.feed.put(scene(), endpoints="2 of 3 etcd endpoints answer: http://etcd-2:2379 does not")
        await play.settle()
        assert "2 of 3 etcd endpoints answer: http://etcd-2:2379 does not" in play.text("banner")
        assert "live" in play.text("header")
        await play.show(scene())
        assert play.text("banner") == ""


@pytest.mark.etcd
async def test_the_feed_tells_of_an_endpoint_that_is_down(etcd: EtcdServer, prefix: str) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    table = EtcdTable(endpoints=(dead, *etcd.endpoints), prefix=prefix)
    feed = Live(lambda: open_operator(Settings(etcd=table), warn=False), dead)
    async with Etcd(EtcdSettings(etcd.endpoints)) as client:
        await ensure_cluster(client, Keys.under(prefix), "c1")
    readings = cast("AsyncGenerator[Reading, None]", feed.readings())
    async with asyncio.timeout(60), aclosing(readings):
        async for reading in readings:
            if reading.endpoints and reading.link is ConnectionState.LIVE:
                break
    assert reading.endpoints == f"1 of 2 etcd endpoints answer: {dead} does not"


def test_a_clock_that_is_far_off_is_named() -> None:
    assert told_of(("agent-a", 0.2), ("agent-b", -40.0)) == "the clock of agent b is 40 s behind this one"
    assert told_of(("agent-a", 0.2), ("agent-b", LARGE_S - 1)) == ""


def test_a_clock_of_someone_who_writes_nothing_more_is_forgotten() -> None:
    seen = Clocks()
    events = {"1": Event("1", NOW + 40, "root@laptop", "start"), "2": Event("2", NOW + FOR_S, "agent-a", "join")}
    seen.update(Snapshot(events=events), frozenset({Address(Table.EVENTS, "1")}), NOW)
    seen.update(Snapshot(events=events), frozenset({Address(Table.EVENTS, "2")}), NOW + FOR_S)
    assert "root@laptop" in seen.status_text()
    seen.update(Snapshot(), frozenset(), NOW + FOR_S + 1)
    assert seen.status_text() == ""


def test_events_that_were_held_up_while_the_registry_was_away_say_nothing_of_a_clock() -> None:
    seen = Clocks()
    hear(seen, 0, ("agent-a", 0.1), ("agent-b", -40.0), ("agent-b", -25.0))
    assert seen.status_text() == ""
    hear(seen, 60, ("agent-b", -70.0))  # of another outage
    hear(seen, 61, ("agent-b", -70.0))  # the same one
    assert seen.status_text() == ""
    hear(seen, 70, ("agent-b", -71.0))
    assert seen.status_text() == "the clock of agent b is 71 s behind this one"


async def test_a_program_with_a_clock_that_is_off_is_called_by_its_machine() -> None:
    async with playing() as play:
        told = Event("1", NOW + 40, f"agent {CORES[3][:8]}", "fail", "web@3.service", CORES[3])
        changed = frozenset({Address(Table.EVENTS, "1")})
        play.stage.feed.put(replace(scene(), events={"1": told}), changed=changed)
        await play.settle()
        assert "the clock of agent core-3 is 40 s ahead" in play.text("banner")
        await play.press("4")
        assert "agent core-3" in play.table()


def test_when_all_others_are_off_it_is_our_own_clock() -> None:
    assert "this clock is 40 s ahead of the fleet's" in told_of(("agent-a", -40.0), ("agent-b", -41.0))


def test_a_first_listing_tells_nothing_of_clocks() -> None:
    seen = Clocks()
    seen.update(Snapshot(events={"1": Event("1", NOW - 9000, "agent-a", "start")}), None, NOW)
    assert seen.status_text() == ""


def acts(*phases: OperationPhase) -> list[Operation]:
    return [
        Operation(
            number,
            Verb.STOP,
            (f"u{number}.service",),
            NOW,
            phase,
            complaints=("it burnt",) * (phase is OperationPhase.FAILED),
        )
        for number, phase in enumerate(phases)
    ]


def test_many_acts_fold_into_their_numbers_and_those_that_failed_stay() -> None:
    lines = operation_lines(
        acts(*[OperationPhase.DONE] * 10, OperationPhase.FAILED, OperationPhase.PENDING),
        NOW,
        room=3,
        width=100,
        keys=KEYS,
    )
    told = [line_text(left) + line_text(right) for left, right in lines]
    assert told[0] == "  12 actions, 1 under way, 10 done, 1 faileda lists them"
    assert "✖ fleetctl stop u10.service   it burnt" in told[1]
    assert len(lines) <= 3


def test_a_long_command_gives_way_to_what_became_of_it() -> None:
    long = replace(acts(OperationPhase.FAILED)[0], line="fleetctl restart " + "web@1.service " * 9)
    under_way = replace(long, number=1, phase=OperationPhase.PENDING, complaints=(), progress="10 of 40 units done")
    lines = operation_lines([long, under_way], NOW, room=3, width=78, keys=KEYS)
    told = [line_text(left) + line_text(right) for left, right in lines]
    assert all(len(each) <= 78 for each in told)
    assert "…   10 of 40 units done · under way · " in told[0]
    assert "…   it burnt" in told[1]


def test_the_page_of_actions_lists_what_failed_and_why() -> None:
    act = Operation(
        1,
        MachineVerb.CORDON,
        ("core-1", "core-2"),
        NOW,
        OperationPhase.FAILED,
        complaints=("core-1: no", "core-2: nor"),
    )
    told = [line_text(line) for line in history_lines([act], NOW)]
    assert [line.strip() for line in told[1:]] == ["core-1: no", "core-2: nor"]
    assert "fleetctl cordon core-1 core-2" in told[0]


def test_the_question_says_dependents_timers_and_globals() -> None:
    up = Target.LAUNCHED
    needs = "[Unit]\nBindsTo=db.service\n" + PLAIN
    follows = PLAIN + "[X-Fleet]\nMachineOf=db.service\n"
    timer = "[Timer]\nOnCalendar=daily\n"
    units = {"db.service": (PLAIN, up), "app.service": (needs, up), "near.service": (follows, up),
             "db.timer": (timer, up), "far.service": (needs, up), "all.service": (EXPORTER, up)}  # fmt: skip
    places = [("db.service", 1), ("app.service", 1), ("near.service", 1), ("db.timer", 1), ("far.service", 2)]
    snapshot = build(units, places, [state(unit, number, units[unit][0]) for unit, number in places])
    told = stopping_lines(Verb.UNLOAD, ["db.service"], snapshot)
    assert "systemd stops with it: app.service (BindsTo)." in told, "far.service is on another machine"
    assert "near.service must be on its machine (MachineOf), and will wait." in told
    assert any(line.startswith("db.timer ") for line in told)
    assert "all.service runs on every machine: it stops everywhere." in stopping_lines(
        Verb.UNLOAD, ["all.service"], snapshot
    )


async def test_a_certificate_that_runs_out_soon_is_told() -> None:
    soon = ["the client certificate runs out in 3 days: fleetctl doctor"]
    async with playing(expiring=lambda: soon[0]) as play:
        assert soon[0] in play.text("banner")
        soon[0] = ""
        await play.show(scene())
        assert play.text("banner") == ""


def test_the_files_are_what_is_told(tmp_path: Path) -> None:
    authority = Authority()
    certificate, _ = authority.issue("x", ends_h=24 * 3 + 1)
    path = tmp_path / "client.pem"
    path.write_bytes(certificate)
    assert Expiry(str(path), "")() == "the client certificate runs out in 3 days: fleetctl doctor"
    assert Expiry("", "")() == ""
    assert Expiry(str(tmp_path / "gone"), "")() == ""
