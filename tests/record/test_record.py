"""A record: what was at each moment, whatever became of the recorder, its files, its clock and the registry."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleettui.__main__ import parser
from fleettui.console.journal.filters import parse_since
from fleettui.record import commands
from fleettui.record import recorder as recording
from fleettui.record.format import DamagedLine, Head, Moment, Values, read_head, read_line, time_of
from fleettui.record.reader import Playback, Record, history
from fleettui.record.recorder import Recorder
from fleettui.record.writer import Bounds, RecordWriter, segments
from registry.errors import UserError
from registry.etcd import Etcd, EtcdSettings
from registry.keys import Keys
from registry.mirror import Mirror, RawChange
from registry.model import Sentinel, Target, Unit, Usage
from registry.program.config import Settings
from registry.records import encode
from registry.sync.follow import ConnectionState
from tests.documents import block
from tests.etcd_server import EtcdServer

ROOM = Bounds(1 << 30, 1e9)
NOON = 1_795_000_000.0
HASH = "a" * 64
UNIT = Unit("web.service", HASH, Target.LAUNCHED)


def head(at: float = NOON, why: str = "started") -> Head:
    return Head(at, "c1", "/fleet/", "box", "0.1.0", why)


def unit(name: str, generation: int = 1) -> tuple[str, bytes]:
    return f"units/{name}", encode(replace(UNIT, name=name, generation=generation))


def written(directory: Path, *changes: Values, every_s: float = 10) -> RecordWriter:
    """A record that begins with no unit, and changes every ten seconds."""
    writer = RecordWriter(directory, ROOM)
    writer.begin(head(), Moment(NOON, 1, {}, whole=True, link="live"))
    for number, change in enumerate(changes, 1):
        writer.write(Moment(NOON + number * every_s, number + 1, change))
    return writer


# The lines

VALUES = st.dictionaries(st.text(min_size=1, max_size=12), st.none() | st.binary(max_size=40), max_size=5)


@given(st.floats(0, 4e9), st.integers(0, 1 << 60), VALUES, st.booleans(), st.sampled_from(["", "lost"]))
def test_every_line_is_read_as_it_was_written(
    at: float, revision: int, values: dict[str, bytes | None], whole: bool, link: str
) -> None:
    known = {key: value for key, value in values.items() if key.isprintable()}
    moment = Moment(round(at, 3), revision if known or whole else 0, known, whole, link)
    line = moment.line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert time_of(line) == moment.at
    assert read_line(line) == moment


@given(st.binary(max_size=80) | st.from_regex(rb'\{"at":1,"(put|gone|all|link|binary)":.{0,30}\}'))
def test_a_damaged_line_is_refused_and_breaks_nothing(line: bytes) -> None:
    for read in (read_line, read_head, time_of):
        with suppress(DamagedLine):
            read(line)


# Moments

KEYS = st.sampled_from(["a.service", "b.service", "c.service", "d.service"])
CHANGES = st.lists(st.lists(st.tuples(KEYS, st.none() | st.integers(1, 9)), max_size=3), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(CHANGES, st.lists(st.integers(0, 11)), st.lists(st.sampled_from([-1, 1]), max_size=30))
def test_a_record_shows_at_each_moment_what_a_follower_saw_then(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[tuple[str, int | None]]], cuts: list[int],
    ways: list[int],
) -> None:  # fmt: skip
    """Whatever was changed, wherever segments begin, and however the reader comes to the moment."""
    directory = tmp_path_factory.mktemp("record")
    writer = RecordWriter(directory, ROOM)
    mirror, seen = Mirror(Keys()), {}
    held: dict[str, bytes] = {}
    writer.begin(head(), Moment(NOON, 1, {}, whole=True, link="live"))
    seen[NOON] = mirror.snapshot()
    for number, step in enumerate(steps):
        at = NOON + 10 * (number + 1)
        values: dict[str, bytes | None] = {}
        for name, generation in step:
            key, value = unit(name, generation or 1)
            values[key] = None if generation is None else (b"\xff{" if name == "d.service" else value)
        mirror.apply(RawChange("/fleet/" + key, value) for key, value in values.items())
        held = {key: value for key, value in (held | values).items() if value is not None}
        seen[at] = mirror.snapshot()
        if number in cuts:
            writer.begin(head(at, "the next part"), Moment(at, number + 2, held, whole=True, link="live"))
        else:
            writer.write(Moment(at, number + 2, values))
    os.close(writer._lock)  # as a kill leaves it

    playback = Playback(directory)
    for at in sorted(seen, key=lambda each: hash((each, len(steps)))):
        view = playback.seek(at + 5)
        assert (view.snapshot.units, view.snapshot.corrupt) == (seen[at].units, seen[at].corrupt)
    last = playback.seek(max(seen))
    for way in ways:
        view_ = playback.step(way)
        if view_ is not None:
            last = view_
        then = max(at for at in seen if at <= last.at)
        assert last.snapshot.units == seen[then].units


def test_what_changed_is_said_of_a_step_and_everything_of_a_leap(tmp_path: Path) -> None:
    written(tmp_path, dict([unit("a.service")]), dict([unit("b.service")]))
    playback = Playback(tmp_path)
    assert playback.seek(NOON + 15).changed is None
    step = playback.step(1)
    assert step is not None
    assert [each.first for each in step.changed or ()] == ["b.service"]
    back = playback.step(-1)
    assert back is not None
    assert (back.back, list(back.snapshot.units)) == (True, ["a.service"])
    assert playback.step(-1) is not None, "the beginning"
    assert playback.step(-1) is None
    assert playback.seek(NOON + 5).back is False


def test_usage_alone_is_no_step(tmp_path: Path) -> None:
    usage = {"usage/m1": encode(Usage("m1", NOON))}
    written(tmp_path, dict([unit("a.service")]), usage, usage, dict([unit("b.service")]))
    playback = Playback(tmp_path)
    playback.seek(NOON + 15)
    step = playback.step(1)
    assert step is not None
    assert (step.at, list(step.snapshot.units)) == (NOON + 40, ["a.service", "b.service"])


def test_a_gap_and_an_outage_are_said(tmp_path: Path) -> None:
    writer = written(tmp_path, dict([unit("a.service")]))
    writer.write(Moment(NOON + 20, link="lost", reason="no answer"))
    writer.write(Moment(NOON + 30, end="the recorder was stopped"))
    writer.close()
    writer.begin(head(NOON + 3600), Moment(NOON + 3600, 9, {}, whole=True, link="live"))
    playback = Playback(tmp_path)
    assert playback.seek(NOON + 12).note == ""
    lost = playback.seek(NOON + 25)
    assert (lost.link, lost.reason) == (ConnectionState.LOST, "no answer")
    assert "nothing was recorded from" in playback.seek(NOON + 1800).note
    assert "recorded anew: started" in playback.seek(NOON + 3601).note
    with pytest.raises(UserError, match="begins at"):
        playback.seek(NOON - 3600)


def test_a_segment_begun_in_an_outage_goes_on_from_what_was_known(tmp_path: Path) -> None:
    writer = written(tmp_path, dict([unit("a.service")]))
    writer.begin(head(NOON + 60, "started"), Moment(NOON + 60, link="lost", reason="no answer"))
    view = Playback(tmp_path).seek(NOON + 61)
    assert (view.link, list(view.snapshot.units)) == (ConnectionState.LOST, ["a.service"])


def test_a_clock_that_goes_back_begins_another_truth(tmp_path: Path) -> None:
    writer = written(tmp_path, dict([unit("a.service")]), every_s=3600)
    at = NOON + 1800
    writer.begin(head(at, "the clock went back by 1800 s"), Moment(at, 9, dict([unit("b.service")]), whole=True))
    view = Playback(tmp_path).seek(NOON + 1900)
    assert list(view.snapshot.units) == ["b.service"]


@pytest.mark.parametrize("now", ["2026-11-28T00:05", "2026-11-28T02:10", "2026-11-28T23:59"])
def test_the_moments_of_the_document_are_understood(now: str) -> None:
    lines = block("docs/record.md", "at").commands
    flags = [parser().parse_args(shlex.split(line, comments=True)[1:]) for line in lines]
    assert flags[0].command == "record"
    at = [each.at for each in flags if each.at]
    told = [parse_since(text, datetime.fromisoformat(now).replace(tzinfo=UTC)) for text in at]
    assert at[:2] == ["02:10", "yesterday 02:10"]
    assert told[1] in (told[0], told[0] - 86400), "before 02:10, its last time was yesterday"
    assert len({*told[1:]}) == 3


# Files


def test_its_files_are_private_and_anybody_can_read_them_with_zcat(tmp_path: Path) -> None:
    directory = tmp_path / "record"
    writer = written(directory, dict([unit("a.service")]))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()} == {0o600}
    writer.close()
    [segment] = segments(directory)
    lines = [json.loads(line) for line in gzip.decompress(segment.path.read_bytes()).splitlines()]
    assert lines[0]["fleet_record"] == 1
    assert json.loads(lines[-1]["put"]["units/a.service"])["hash"] == HASH


def test_one_recorder_at_a_time(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, ROOM)
    with pytest.raises(UserError, match="another fleettui record"):
        RecordWriter(tmp_path, ROOM)
    os.close(writer._lock)


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty"])
def test_a_damaged_segment_is_read_as_far_as_it_goes(tmp_path: Path, damage: str) -> None:
    writer = written(tmp_path, dict([unit("a.service")]))
    at = NOON + 100
    writer.begin(head(at, "the next part"), Moment(at, 9, dict([unit("a.service"), unit("b.service")]), whole=True))
    for number in range(200):
        writer.write(Moment(at + number, 10 + number, dict([unit(f"n{number}.service")])))
    path = segments(tmp_path)[-1].path
    data = path.read_bytes()
    size = len(data)
    path.write_bytes(
        {"cut": data[: size // 2], "zeros": data[: size // 2] + bytes(size // 2), "empty": b""}[damage]
    )
    view = Playback(tmp_path).seek(at + 500)
    assert "a.service" in view.snapshot.units
    assert ("b.service" in view.snapshot.units) == (damage != "empty")


def test_the_oldest_go_when_there_are_too_many_bytes_and_a_clock_that_jumps_takes_few(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, Bounds(40_000, 3600))
    for number in range(30):
        noise = {f"units/u{n}.service": os.urandom(60).hex().encode() for n in range(30)}
        writer.begin(head(NOON + number), Moment(NOON + number, 1, noise, whole=True))
    kept = segments(tmp_path)
    assert sum(each.size_bytes for each in kept) <= 40_000
    assert kept[-1].number == 30
    writer.begin(head(NOON + 1e7), Moment(NOON + 1e7, 1, {}, whole=True))
    assert len(segments(tmp_path)) == len(kept) + 1 - 2


def test_the_history_of_one_value(tmp_path: Path) -> None:
    usages = [{"usage/m1": encode(Usage("m1", load=(load, 0.0, 0.0)))} for load in (0.5, 1.0, 1.5)]
    written(tmp_path, *usages, dict([unit("a.service")]))
    found = history(tmp_path, "usage/m1", NOON + 15, NOON + 100)
    assert [(at, json.loads(value)["load"][0]) for at, value in found] == [
        (NOON + 15, 0.5), (NOON + 20, 1.0), (NOON + 30, 1.5),
    ]  # fmt: skip
    assert history(tmp_path, "usage/m1", NOON, NOON + 100, cluster="another") == []


# A real registry


@asynccontextmanager
async def recorder_of(client: Etcd, keys: Keys, directory: Path) -> AsyncIterator[list[str]]:
    told: list[str] = []
    writer = RecordWriter(directory, ROOM)
    task = asyncio.create_task(Recorder(client, keys, writer, told.append).run())
    try:
        yield told
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        os.close(writer._lock)


async def until(directory: Path, name: str, *, there: bool = True) -> None:
    """Wait until the newest of the record has the unit, or has it no longer."""
    async with asyncio.timeout(60):
        while True:
            with suppress(UserError):
                view = await asyncio.to_thread(Playback(directory).seek, time.time() + 1)
                if (name in view.snapshot.units) is there:
                    return
            await asyncio.sleep(0.2)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "EVERY_S", 0.05)


@pytest.mark.etcd
@pytest.mark.usefixtures("quick")
async def test_what_happens_in_a_real_registry_is_recorded_over_an_outage_and_a_restore(tmp_path: Path) -> None:
    keys, directory = Keys(), tmp_path / "record"
    with EtcdServer(tmp_path / "etcd") as server:
        async with Etcd(EtcdSettings(server.endpoints, request_timeout_s=1.0)) as client:
            await client.put(keys.cluster, encode(Sentinel("c1")))
            await client.put(*with_prefix(keys, unit("a.service")))
            async with recorder_of(client, keys, directory) as told:
                await until(directory, "a.service")
                await client.put(*with_prefix(keys, unit("b.service")))
                await client.put("/fleet/units/c.service", b"{broken")
                await until(directory, "b.service")
                member, saved = server.members[0], tmp_path / "saved.db"
                await asyncio.to_thread(member.save, saved)
                for number in range(30):
                    await client.put(*with_prefix(keys, unit("x.service", number + 1)))
                await until(directory, "x.service")
                server.stop()
                async with asyncio.timeout(60):
                    while not any("lost" in each for each in told):  # noqa: ASYNC110 - nothing to wait on
                        await asyncio.sleep(0.1)
                await asyncio.to_thread(member.restore, saved)
                server.start()
                async with Etcd(EtcdSettings(server.endpoints, request_timeout_s=5.0)) as other:
                    await other.put(*with_prefix(keys, unit("d.service")))
                    await other.delete(keys.unit("a.service"))
                await until(directory, "x.service", there=False)
                await until(directory, "a.service", there=False)
    view = Playback(directory).seek(time.time())
    assert sorted(view.snapshot.units) == ["b.service", "d.service"]
    assert list(view.snapshot.corrupt) == ["/fleet/units/c.service"], "kept as it lies there"
    assert view.head.why == "the registry was listed anew"
    lines = [line for part in Record(directory).segments for line in part_lines(part.path)]
    assert any(line.get("link") == "lost" for line in lines), "an outage stands in the record"
    assert lines[-1]["end"] == "the recorder was stopped"


def with_prefix(keys: Keys, pair: tuple[str, bytes]) -> tuple[str, bytes]:
    return keys.prefix + pair[0], pair[1]


def part_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.mark.etcd
async def test_a_recorder_that_is_killed_loses_at_most_its_last_second(
    etcd: EtcdServer, prefix: str, tmp_path: Path
) -> None:
    keys, directory = Keys(prefix), tmp_path / "record"
    command = [sys.executable, "-m", "fleettui", "record", "--directory", str(directory), "--prefix", prefix,
               "--endpoint", ",".join(etcd.endpoints)]  # fmt: skip
    environ = os.environ | {"HOME": str(tmp_path), "FLEET_CONFIG": ""}
    async with Etcd(EtcdSettings(etcd.endpoints)) as client:
        await client.put(keys.cluster, encode(Sentinel("c1")))
        for number in range(2):
            process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)  # noqa: ASYNC220 - its end is asked of it
            try:
                await client.put(*with_prefix(keys, unit(f"u{number}.service")))
                await until(directory, f"u{number}.service")
            finally:
                process.send_signal(signal.SIGKILL)
                process.communicate()
    playback = Playback(directory)
    view = playback.seek(time.time())
    assert sorted(view.snapshot.units) == ["u0.service", "u1.service"]
    assert len(segments(directory)) == 2, "nobody appends to what was torn"


def test_it_records_the_local_cluster_where_nothing_else_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, seen = tmp_path / "fleet.toml", list[Settings]()
    config.write_text('[etcd]\nendpoints = ["http://10.9.8.7:2379"]\n')

    async def record(settings: Settings, _writer: RecordWriter) -> None:
        seen.append(settings)

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("fleettui.demo.paths.operator_config", lambda _name="demo": config)
    monkeypatch.setattr(commands, "_record", record)
    assert commands.main(["--directory", str(tmp_path / "record")]) == 0
    assert seen[0].etcd.endpoints == ("http://10.9.8.7:2379",)
