"""Status, journals and commands over SSH on real machines: real sshd, journald and systemd."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from fleettui.remote import JournalEntry, JournalQuery, JournalSource, LinkState, Place, Remote
from registry.model import Machine
from registry.program.config import SshTable

pytestmark = pytest.mark.cluster

Links = list[tuple[str, LinkState, str]]


def machine(node: Node) -> Machine:
    """The machine as its agent would register it."""
    key = " ".join(node.root.host_key().split()[:2])
    return Machine(node.spec.machine_id, node.name, node.spec.address, "boot", host_keys=(key,))


@pytest.fixture
async def remote(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Remote]:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    identity = str(nodes.layout.state / "id_ed25519")
    async with Remote(SshTable(user="root", identity_files=(identity,), timeout=5.0)) as opened:
        yield opened


@pytest.fixture
def unit() -> str:
    """A unit of this test alone, so that earlier lines of the journals do not matter."""
    return f"talk{time.time_ns()}.service"


def say(node: Node, unit: str, text: str) -> None:
    """Lines of a unit, each written and stored before this returns."""
    done = node.exec(
        ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={unit}", "printf", "%b", text + "\\n"]
    )
    assert done.returncode == 0, done.stderr
    node.exec(["journalctl", "--sync"])


def talk(node: Node, unit: str, lines: int, pause_s: float) -> None:
    """Numbered lines at a steady pace, from now on."""
    script = f"i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); sleep {pause_s}; done"
    done = node.exec(["systemd-run", "--quiet", "--collect", f"--unit={unit}", "sh", "-c", script])
    assert done.returncode == 0, done.stderr


async def read(stream: AsyncGenerator[JournalEntry, None]) -> list[JournalEntry]:
    async with aclosing(stream):
        return [entry async for entry in stream]


async def read_until(
    stream: AsyncGenerator[JournalEntry, None],
    enough: Callable[[list[JournalEntry]], bool],
    *,
    timeout_s: float = 90,
) -> list[JournalEntry]:
    got: list[JournalEntry] = []
    async with aclosing(stream):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for entry in stream:
                    got.append(entry)
                    if enough(got):
                        return got
    raise AssertionError(f"not enough within {timeout_s:g} s: {[each.message for each in got[-20:]]}")


def messages(entries: Sequence[JournalEntry], unit: str) -> list[str]:
    """What the unit itself said, without systemd's words about it."""
    return [entry.message for entry in entries if entry.unit == unit and entry.identifier != "systemd"]


async def begun(links: Links, *hosts: str) -> None:
    """Wait until these machines' journals are followed: told once for its backlog, then for the rest."""
    async with asyncio.timeout(60):
        while any([(host, state) for host, state, _ in links].count((name, LinkState.UP)) < 2 for name in hosts):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def note(links: Links) -> Callable[[Machine, LinkState, str], None]:
    return lambda machine, state, reason: links.append((machine.hostname, state, reason))


def sources(nodes: Cluster, unit: str) -> list[JournalSource]:
    return [JournalSource(machine(node), unit) for node in nodes.nodes.values()]


async def test_status_is_what_systemctl_prints(nodes: Cluster, remote: Remote) -> None:
    core = machine(nodes.node("core-1"))
    plain = await remote.unit_status(core, "dbus.service")
    assert plain.status == 0
    assert b"dbus.service - D-Bus" in plain.stdout
    assert b"\x1b[" not in plain.stdout
    coloured = await remote.unit_status(core, "dbus.service", colour=True, lines=0)
    assert b"\x1b[" in coloured.stdout
    assert (await remote.unit_status(core, "no-such.service")).status == 4
    assert (await remote.unit_status(core, "dbus.service", sudo=True)).status == 0


async def test_backlogs_of_all_machines_are_merged_and_cut_as_one(
    nodes: Cluster, remote: Remote, unit: str
) -> None:
    wanted = []
    for round_ in range(4):
        for node in nodes.nodes.values():
            say(node, unit, f"{node.name} {round_}")
            wanted.append(f"{node.name} {round_}")
    got = await read(remote.journal(sources(nodes, unit), JournalQuery(lines=None)))
    assert messages(got, unit) == wanted
    assert [each.at for each in got] == sorted(each.at for each in got)
    last = await read(remote.journal(sources(nodes, unit), JournalQuery(lines=5)))
    assert last == got[-5:]
    assert {each.hostname for each in got} == set(nodes.nodes)


async def test_messages_keep_what_was_written(nodes: Cluster, remote: Remote, unit: str) -> None:
    node = nodes.node("core-1")
    say(node, unit, "\\0033[31mred\\0033[0m\\nbad \\0377 byte\\n" + "x" * 20_000)
    got = messages(await read(remote.journal([JournalSource(machine(node), unit)], JournalQuery(lines=None))), unit)
    assert got[0] == "\x1b[31mred\x1b[0m"
    assert got[1] == "bad \N{REPLACEMENT CHARACTER} byte"
    assert got[2] == "x" * 20_000


async def test_what_systemd_says_of_a_unit_is_its_own(nodes: Cluster, remote: Remote, unit: str) -> None:
    node = nodes.node("core-1")
    say(node, unit, "hello")
    got = await read(remote.journal([JournalSource(machine(node), unit)], JournalQuery(lines=None)))
    assert {each.unit for each in got} == {unit}
    assert any(each.message.startswith("Started ") for each in got)


async def test_follow_begins_with_the_backlog_and_goes_on(nodes: Cluster, remote: Remote, unit: str) -> None:
    """Each line is said when the one before it has come: how late a busy machine's lines may be is not judged."""
    first, second = list(nodes.nodes.values())[:2]
    say(first, unit, "before")
    links: Links = []
    stream = remote.journal(sources(nodes, unit), JournalQuery(lines=100, follow=True), note(links))
    to_say = [(node, f"after {node.name}") for node in (first, second, first)]
    wanted = ["before", *(text for _, text in to_say)]
    came = asyncio.Queue[str]()

    def enough(got: list[JournalEntry]) -> bool:
        if got[-1].identifier != "systemd":
            came.put_nowait(got[-1].message)
        return len(messages(got, unit)) == len(wanted)

    async def then() -> None:
        await begun(links, *nodes.nodes)
        assert await came.get() == "before"
        for node, text in to_say:
            await asyncio.to_thread(say, node, unit, text)
            assert await came.get() == text

    later = asyncio.create_task(then())
    got = await read_until(stream, enough)
    await later
    assert messages(got, unit) == wanted


async def test_follow_from_now_shows_nothing_old(nodes: Cluster, remote: Remote, unit: str) -> None:
    node = nodes.node("core-1")
    say(node, unit, "old")
    links: Links = []
    stream = remote.journal([JournalSource(machine(node), unit)], JournalQuery(lines=0, follow=True), note(links))

    async def then() -> None:
        await begun(links, node.name)
        await asyncio.to_thread(say, node, unit, "new")

    later = asyncio.create_task(then())
    got = await read_until(stream, lambda each: bool(messages(each, unit)))
    await later
    assert messages(got, unit) == ["new"]


async def test_killed_connections_lose_and_repeat_nothing(nodes: Cluster, remote: Remote, unit: str) -> None:
    """Break every SSH session several times while both machines talk."""
    talkers = list(nodes.nodes.values())[:2]
    links: Links = []
    stream = remote.journal(sources(nodes, unit), JournalQuery(lines=0, follow=True), note(links))

    async def break_it() -> None:
        await begun(links, *nodes.nodes)
        for node in talkers:
            await asyncio.to_thread(talk, node, unit, 200, 0.02)
        for _ in range(3):
            await asyncio.sleep(1)
            for node in talkers:
                await asyncio.to_thread(node.exec, ["pkill", "-9", "-f", "^sshd(-session)?: root"])

    breaking = asyncio.create_task(break_it())
    got = await read_until(stream, lambda each: messages(each, unit).count("line 199") == 2)
    await breaking
    for node in talkers:
        own = [entry for entry in got if entry.machine == node.spec.machine_id]
        assert messages(own, unit) == [f"line {number}" for number in range(200)]
    lost = {host for host, state, _ in links if state is LinkState.LOST}
    assert lost == {node.name for node in talkers} or lost == set(nodes.nodes)


async def test_cut_link_is_noticed_and_the_journal_resumes(nodes: Cluster, remote: Remote, unit: str) -> None:
    """No packet comes back: only the keepalive can tell. The other machine's lines keep coming meanwhile."""
    cut, other = list(nodes.nodes.values())[:2]
    links: Links = []
    lost = asyncio.Event()

    def on_link(machine: Machine, state: LinkState, reason: str) -> None:
        note(links)(machine, state, reason)
        if state is LinkState.LOST and machine.hostname == cut.name:
            lost.set()

    async def break_it() -> None:
        await begun(links, *nodes.nodes)
        await asyncio.to_thread(talk, cut, unit, 100, 0.05)
        await asyncio.sleep(1)
        cut.cut()
        await asyncio.to_thread(say, other, unit, "meanwhile")
        async with asyncio.timeout(40):
            await lost.wait()
        cut.heal()

    breaking = asyncio.create_task(break_it())
    stream = remote.journal(sources(nodes, unit), JournalQuery(lines=0, follow=True), on_link)
    got = await read_until(stream, lambda each: "line 99" in messages(each, unit), timeout_s=60)
    await breaking
    said = messages(got, unit)
    assert said.index("meanwhile") < said.index("line 99")
    assert [each for each in said if each != "meanwhile"] == [f"line {number}" for number in range(100)]


async def test_machine_that_is_down_stops_nobody(nodes: Cluster, remote: Remote, unit: str) -> None:
    node = nodes.node("core-1")
    say(node, unit, "here")
    dead = Machine("d" * 32, "dead", node.spec.address, "boot", ssh_port=9)
    links: Links = []
    both = [JournalSource(dead, unit), JournalSource(machine(node), unit)]
    got = await read(remote.journal(both, JournalQuery(lines=None), note(links)))
    assert messages(got, unit) == ["here"]
    lost = [reason for host, state, reason in links if host == "dead" and state is LinkState.LOST]
    assert len(lost) == 1
    assert lost[0].startswith(f"cannot reach dead ({node.spec.address}): connection refused on port 9;")
    stream = remote.journal(both, JournalQuery(lines=100, follow=True))
    began = time.monotonic()
    await read_until(stream, lambda each: bool(messages(each, unit)))
    assert time.monotonic() - began < 20


async def test_other_selection_is_there_at_once(nodes: Cluster, remote: Remote, unit: str) -> None:
    """What the console does when the cursor moves: the connection is kept, only journalctl starts anew."""
    node = nodes.node("core-1")
    say(node, unit, "here")
    waits = []
    for _ in range(5):
        began = time.monotonic()
        stream = remote.journal([JournalSource(machine(node), unit)], JournalQuery(lines=10, follow=True))
        await read_until(stream, bool)
        waits.append(time.monotonic() - began)
    assert min(waits) < 1.5, waits


async def test_slow_reader_slows_journalctl_and_not_the_program(nodes: Cluster, remote: Remote, unit: str) -> None:
    node = nodes.node("core-1")
    counting = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={unit}", "seq", "1", "8000"]
    assert node.exec(counting, timeout_s=60).returncode == 0
    node.exec(["journalctl", "--sync"])
    stream = remote.journal([JournalSource(machine(node), unit)], JournalQuery(lines=None))
    got: list[JournalEntry] = []
    async with aclosing(stream):
        async for entry in stream:
            got.append(entry)
            if len(got) % 2000 == 0:
                await asyncio.sleep(0.2)
    assert messages(got, unit) == [str(number) for number in range(1, 8001)]


async def test_text_formats_are_journalctls_own(nodes: Cluster, remote: Remote, unit: str) -> None:
    node = nodes.node("core-1")
    say(node, unit, "one\\ntwo")
    query = JournalQuery(lines=None)
    shown = [line async for line in remote.journal_text(machine(node), [unit], query, "cat")]
    assert [each for each in shown if each in ("one", "two")] == ["one", "two"]
    short = [line async for line in remote.journal_text(machine(node), [unit], query, "short-iso")]
    assert any(line.endswith(": one") and node.name in line for line in short)


TALKER = "n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo line $n; sleep 0.3; done"


@pytest.mark.timeout(240)
async def test_a_group_of_sixty_on_three_machines_is_read_whole_also_while_it_grows_and_searched(
    nodes: Cluster, remote: Remote
) -> None:
    group = f"group{time.time_ns()}"
    units = [f"{group}@{number}.service" for number in range(21)]
    run = " ".join(f"systemd-run -q --collect --unit={unit} sh -c '{TALKER}';" for unit in units)
    machines = [machine(node) for node in nodes.nodes.values()]
    every = [JournalSource(each, unit) for each in machines for unit in units]
    some = [each for each in every if int(each.unit.partition("@")[2].partition(".")[0]) < 7]
    links: Links = []
    stream = remote.journal_stream(some, JournalQuery(lines=None, follow=True), note(links))
    got: dict[tuple[str, str], list[int]] = {}
    targets = iter([every, some, every[:40], every])
    try:
        await asyncio.gather(*(asyncio.to_thread(node.exec, ["sh", "-c", run]) for node in nodes.nodes.values()))
        async with asyncio.timeout(120), aclosing(stream.batches()) as batches:
            count = 0
            async for batch in batches:
                for each in batch:
                    if each.message.startswith("line "):
                        got.setdefault((each.machine, each.unit), []).append(int(each.message.split()[1]))
                        count += 1
                if count > 300:
                    count = 0
                    if (target := next(targets, None)) is None:
                        break
                    stream.retarget(target)
        assert len(got) == 63
        for source, numbers in got.items():
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), source
        for asked in some:
            assert got[asked.machine.id, asked.unit][0] == 1, "the whole of what was asked for first"
        assert not [link for link in links if link[1] is LinkState.LOST]

        history = remote.journal_history(
            every, JournalQuery(), {each.id: Place(time.time_ns() // 1000) for each in machines}, backwards=True
        )
        newest = await history.read(500)
        older = await history.read(500)
        assert history.troubles == {}
        times = [each.at for each in (*newest, *older)]
        assert times == sorted(times, reverse=True)
        assert len({each.cursor for each in (*newest, *older)}) == len(times) > 600

        troubles: dict[str, str] = {}
        query = JournalQuery(lines=None, grep="LINE 3$", exact=False)
        async with aclosing(remote.journal_search(every, query, troubles)) as search:
            found = [each async for batch in search for each in batch]
        assert troubles == {}
        assert {(each.machine, each.unit) for each in found} == {(each.machine.id, each.unit) for each in every}
    finally:
        stop = ["systemctl", "stop", f"{group}@*"]
        await asyncio.gather(*(asyncio.to_thread(node.exec, stop) for node in nodes.nodes.values()))


NO_PCRE2 = """#!/bin/sh
case " $* " in *--grep=*) echo "Compiled without pattern matching support" >&2; exit 1;; esac
exec /usr/bin/journalctl "$@"
"""


async def test_a_machine_without_pcre2_gives_all_lines_to_look_into(
    nodes: Cluster, remote: Remote, unit: str
) -> None:
    node, troubles, wrapper = nodes.node("core-1"), dict[str, str](), "/usr/local/bin/journalctl"
    say(node, unit, "a needle\\nhay")
    node.exec(["sh", "-c", f"cat >{wrapper} && chmod +x {wrapper}"], text=NO_PCRE2)
    try:
        query = JournalQuery(lines=None, grep="needle", exact=False)
        stream = remote.journal_search([JournalSource(machine(node), unit)], query, troubles)
        async with aclosing(stream) as search:
            found = [each.message async for batch in search for each in batch]
    finally:
        node.exec(["rm", wrapper])
    assert troubles == {}
    assert {"a needle", "hay"} <= {*found}
