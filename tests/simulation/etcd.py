"""etcd, simulated at the door of the client: members with a leader, the network before them, and their faults.

Stands for the client's transport: calls of the JSON gateway go in, its answers come out, or the failures that a
real connection shows. Everything above (the choice of an endpoint, repetition, logins, watches)
is the client's own. An exchange is carried out at one moment between its sending and its answer. What may happen to
it is what happens to a connection: it is slow, it is lost before or after that moment, or it arrives when nobody
waits any more. All members share one store: etcd promises that a majority agrees, and shows one that lags only to
those who ask for it (serializable reads, watches).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from registry.etcd import EtcdSettings
from registry.etcd.cluster import EtcdCluster
from registry.etcd.wire import EtcdError, EtcdUnreachable
from tests.simulation.loop import PROGRAM, Program, SimulatedLoop
from tests.simulation.store import (
    INVALID,
    MAX_BYTES,
    NO_TOKEN,
    PRECONDITION,
    UNAVAILABLE,
    Granted,
    Happened,
    Json,
    Refused,
    Store,
    decoded,
    within,
)

if TYPE_CHECKING:
    from pathlib import Path

NO_LEADER_S = 1.0  # a member without a leader refuses from then on
WATCH_ENDS_S = 4.0  # and ends its watches from then on
PROPOSAL_S = 7.0  # how long a member keeps what waits for a leader
DEAD_PEER_S = 5.0  # until the kernel finds the peer of a quiet connection dead
CONNECT_S = 1.5
AGAIN_S = 6.0  # at most so long after the first a request comes that is sent twice
LATE_S = 0.5  # at most so long a lease outlives its end
TOKEN_LETTERS = "abcdefghijklmnopqrstuvwxyz"
OPEN = ("/lease/keepalive", "/lease/timetolive", "/maintenance/", "/cluster/")


class Clock(Protocol):
    """Time as the simulated etcd needs it."""

    def now(self) -> float:
        """Seconds."""

    def after(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        """Call something later."""


class VirtualClock:
    """The world's."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop, self.after = loop, loop.after

    def now(self) -> float:
        return self._loop.now


class RealClock:
    """That of whatever loop runs now: for tests of the simulated etcd itself."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        return time.monotonic()

    def after(self, delay: float, call: Callable[..., object], *args: Any) -> None:
        try:
            self.loop = loop = asyncio.get_running_loop()
        except RuntimeError:  # from a thread of a test
            if (found := self.loop) is not None and not found.is_closed():
                found.call_soon_threadsafe(found.call_later, delay, call, *args)
        else:
            loop.call_later(delay, call, *args)


@dataclass(eq=False)
class Exchange:
    """One call under way. `program` sent it, from `host`."""

    member: Member
    path: str
    request: Json
    token: str
    wants_leader: bool
    answer: asyncio.Future[Any]
    program: Program | None
    host: str
    sent_at: float
    stream: Stream | None = None

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def done(self, value: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(value)


@dataclass(eq=False)
class Stream:
    """A watch: the client's end, and what the member knows of it."""

    member: Member
    host: str
    program: Program | None
    key: bytes = b""
    end: bytes = b""
    next: int = 0
    arrives: float = 0.0  # when what was sent last is there: the order is kept
    closed: bool = False  # by the client
    broken: Exception | None = None
    ended: bool = False
    told: bool = False  # that it is open
    chunks: list[bytes] = field(default_factory=list)
    waiting: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        while True:
            if self.chunks:
                found = b"".join(self.chunks)
                self.chunks.clear()
                return found
            if self.broken is not None:
                raise self.broken
            if self.ended:
                return b""
            self.waiting = asyncio.get_running_loop().create_future()
            await self.waiting

    def _wake(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    def take(self, chunk: bytes) -> None:
        if self.broken is None and not self.ended:
            self.chunks.append(chunk)
            self._wake()

    def finish(self) -> None:
        self.ended = True
        self._over()
        self._wake()

    def opened(self) -> None:
        """The client has it."""
        self.told = True
        self.member.cluster.on_link(self.program, up=True)

    def _over(self) -> None:
        if self.told:
            self.told = False
            self.member.cluster.on_link(self.program, up=False)

    def abort(self) -> None:
        self.fail(EtcdUnreachable("broke off its answer"))

    def fail(self, error: Exception) -> None:
        self.broken = self.broken or error
        self.member.streams.pop(self, None)
        self._over()
        self._wake()

    def close(self) -> None:
        self.closed = True
        self.member.streams.pop(self, None)
        self._over()


@dataclass
class Wire:
    """The way of one host to all members."""

    cut: bool = False
    cut_at: float = 0.0
    lost: float = 0.0  # part of the exchanges that go silent, half of them before they are carried out
    doubled: float = 0.0  # part of the requests that somebody between sends once more, perhaps seconds later
    slow_s: float = 0.0  # what each way takes more, at most
    held: list[tuple[float, Callable[[], None]]] = field(default_factory=list)  # on the way when it was cut
    lines: list[tuple[Stream, bytes]] = field(default_factory=list)  # of watches, the same


class Member:
    """One member of the cluster. The methods are those of `tests.etcd_server.Member`."""

    def __init__(self, cluster: SimulatedEtcd, number: int, url: str) -> None:
        self.cluster, self.name, self.url, self.id = cluster, f"m{number}", url, 0x1000 + number
        self.process: object | None = None
        self.frozen = False
        self.cut = False
        self.streams: dict[Stream, None] = {}
        self.active: dict[Exchange, None] = {}
        self.backlog: list[Callable[[], None]] = []
        self.lines: list[tuple[Stream, bytes]] = []  # of watches, on the way when it was cut off
        self.client_port = int(url.rpartition(":")[2])

    @property
    def up(self) -> bool:
        return self.process is not None

    @property
    def well(self) -> bool:
        """Whether it takes part in decisions."""
        return self.up and not self.frozen and not self.cut

    def healthy(self) -> bool:
        return self.well and self.cluster.leader_now is not None

    def spawn(self) -> None:
        if not self.up:
            self.process = object()
            self.cluster.reconsider()

    def freeze(self) -> None:
        self.frozen = True
        self.cluster.reconsider()

    def thaw(self) -> None:
        self.frozen = False
        self.cluster.reconsider()
        self._go_on()

    def isolate(self) -> None:
        """Cut it off from everybody."""
        self.cut = True
        self.cluster.reconsider()
        cut_at = self.cluster.clock.now()
        self.cluster.clock.after(DEAD_PEER_S, self.cluster.find_dead, list(self.streams), cut_at, self)

    def join(self) -> None:
        """The opposite."""
        self.cut = False
        self.cluster.reconsider()
        self._go_on()

    def _go_on(self) -> None:
        """What has waited in its sockets is carried out now, though perhaps nobody waits for it any more."""
        backlog, self.backlog = self.backlog, []
        for each in backlog if self.well else ():
            if self.cluster.random.random() < 0.7:
                self.cluster.clock.after(self.cluster.random.random() * 0.05, each)
        lines, self.lines = self.lines, []
        self.cluster.bring_late(lines if self.well else [])
        self.cluster.catch_up(self.streams)

    def kill(self) -> None:
        self._end(error=None)

    def stop(self) -> None:
        self._end(error="transport is closing")

    def _end(self, error: str | None) -> None:
        if not self.up:
            return
        self.process, self.frozen = None, False
        self.backlog.clear()
        self.lines.clear()
        self.cluster.store.users.tokens = {}
        self.cluster.forget_logins()
        if not self.cut:
            self.cluster.clock.after(0, self._hang_up, list(self.streams), list(self.active), error)
        self.streams, self.active = {}, {}
        self.cluster.reconsider()

    def _hang_up(self, streams: list[Stream], active: list[Exchange], error: str | None) -> None:
        for stream in streams:
            if error:
                stream.take(_error(UNAVAILABLE, error))
                stream.finish()
            else:
                stream.fail(EtcdUnreachable("broke off its answer"))
        for exchange in active:
            exchange.fail(EtcdUnreachable("closed the connection", closed=True))

    def wipe(self) -> None:
        self.cluster.restore(Store())

    def save(self, path: Path, *, user: str = "") -> None:
        path.write_text(user)
        SNAPSHOTS[str(path)] = self.cluster.store.copy()

    def restore(self, path: Path) -> None:
        self.cluster.restore(SNAPSHOTS[str(path)])


SNAPSHOTS: dict[str, Store] = {}
CLUSTERS: dict[str, SimulatedEtcd] = {}  # by endpoint
_ports = itertools.count(1)
OnChange = Callable[["Exchange | None", list[Happened]], None]


class OnLink(Protocol):
    """Told that a program's watch is open, or over."""

    def __call__(self, program: Program | None, *, up: bool) -> None: ...


def _unheard(program: Program | None, *, up: bool) -> None:
    """Nobody wants to know."""


class SimulatedEtcd:
    """One cluster. The methods that tests use are those of `tests.etcd_server.EtcdServer`."""

    version = "3.4.0"

    def __init__(self, members: int = 1, *, seed: int | str = 0, clock: Clock | None = None) -> None:
        self.store = Store()
        self.random = Random(f"etcd {seed}")
        self.clock: Clock = clock or RealClock()
        self.on_change: OnChange = lambda _exchange, _changes: None
        self.on_call: Callable[[Exchange], None] = lambda _exchange: None
        self.on_answer: Callable[[Exchange], None] = lambda _exchange: None  # it is carried out
        self.on_link: OnLink = _unheard
        self._logins = 0
        self.wires: dict[str, Wire] = {}
        self.latency_s = (0.0002, 0.002) if clock is None else (0.0003, 0.004)
        self.election_s = (0.05, 0.1) if members == 1 else (1.0, 2.0)
        self.leader_now: Member | None = None
        self.leaderless_since = 0.0
        self._elections = 0
        self._waiting: list[Exchange] = []  # for a leader
        self._expiry: object = None
        self._leases = Random(f"leases {seed}")
        port = 10_000 + next(_ports) * 10 if clock is None else 2379  # no port that a real server is given
        self.members = [Member(self, i, f"http://127.0.0.1:{port + i}") for i in range(members)]
        self._by_url = {member.url: member for member in self.members}
        CLUSTERS.update(dict.fromkeys(self._by_url, self))

    # ---- as tests know it

    def __enter__(self) -> SimulatedEtcd:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(each.url for each in self.members)

    def start(self) -> None:
        for member in self.members:
            member.spawn()
        self._elect(self._elections)

    async def restart(self) -> None:
        self.start()

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def forget_logins(self) -> None:
        """A restarted member counts from the beginning."""
        self._logins = 0

    def logins(self) -> int:
        return self._logins

    def leader(self) -> Member:
        assert self.leader_now is not None, "no member leads"
        return self.leader_now

    def post(self, path: str, body: Json, _member: Member | None = None) -> dict[str, Any]:
        """One raw call, past the network, as nobody."""
        answer, changes = self._carry_out(path, body)
        self._tell(None, changes)
        return answer

    def compact(self, revision: int) -> None:
        self.post("/kv/compaction", {"revision": str(revision)})

    def enable_auth(self, *, password: str, user: str, user_password: str, prefix: str) -> None:
        users = self.store.users
        users.passwords["root"], users.roles["root"] = password, ["root"]
        first = prefix.encode()
        self.store.grant_access(user, user_password, [Granted(first, first[:-1] + bytes([first[-1] + 1]))])

    def restore(self, snapshot: Store) -> None:
        """Have another state; only while all are stopped."""
        self.store = snapshot.copy()

    # ---- the network

    def member(self, url: str) -> Member:
        return self._by_url[url]

    def wire(self, host: str) -> Wire:
        wire = self.wires.get(host)
        if wire is None:
            wire = self.wires[host] = Wire()
        return wire

    def cut(self, host: str) -> None:
        """Take a host off the network."""
        wire = self.wire(host)
        wire.cut, wire.cut_at = True, self.clock.now()
        streams = [each for member in self.members for each in member.streams if each.host == host]
        self.clock.after(DEAD_PEER_S, self.find_dead, streams, wire.cut_at, None)

    def heal(self, host: str) -> None:
        """Put it back: what is not yet given up arrives late."""
        wire = self.wire(host)
        wire.cut = False
        held, wire.held = wire.held, []
        for sent_at, each in held:
            if self.clock.now() - sent_at < 15 and self.random.random() < 0.7:
                self.clock.after(self.random.random() * 0.3, each)
        lines, wire.lines = wire.lines, []
        self.bring_late(lines)
        for member in self.members:
            self.catch_up(each for each in member.streams if each.host == host)

    def bring_late(self, lines: list[tuple[Stream, bytes]]) -> None:
        """What a connection has held back arrives in order, or the connection ends: no part of it is lost alone."""
        ended = {stream for stream in dict.fromkeys(each for each, _ in lines) if self.random.random() < 0.3}
        for stream, line in lines:
            if stream in ended:
                stream.fail(EtcdUnreachable("connection reset by peer"))
            else:
                self._bring(stream, line)

    def find_dead(self, streams: list[Stream], cut_at: float, member: Member | None) -> None:
        """Connections over a cut that has lasted end at both sides."""
        for stream in streams:
            wire = self.wire(stream.host)
            lasting = member.cut if member is not None else wire.cut and wire.cut_at == cut_at
            if lasting and not stream.closed and stream.broken is None:
                stream.fail(EtcdUnreachable("connection timed out"))

    def forget(self, program: Program) -> None:
        """A program is dead: its connections are closed. What it has sent is on its way."""
        for member in self.members:
            for stream in [each for each in member.streams if each.program is program]:
                stream.close()

    def _delay(self, wire: Wire) -> float:
        least, most = self.latency_s
        extra = self.random.random() ** 3 * wire.slow_s if wire.slow_s else 0.0
        return least + self.random.random() * (most - least) + extra

    def send(self, exchange: Exchange, *, connected: bool, timeout_s: float) -> None:
        wire, member = self.wire(exchange.host), exchange.member
        self.on_call(exchange)
        if not connected and (wire.cut or member.cut):
            error = EtcdUnreachable("timed out while connecting", sent=False)
            self.clock.after(min(CONNECT_S, timeout_s), exchange.fail, error)
        elif not member.up:
            self.clock.after(self._delay(wire), exchange.fail, EtcdUnreachable("connection refused", sent=False))
        elif not (wire.lost and self.random.random() < wire.lost / 2):
            self.clock.after(self._delay(wire), self._arrive, exchange)
            if wire.doubled and exchange.stream is None and self.random.random() < wire.doubled:
                again = replace(exchange, answer=asyncio.get_running_loop().create_future())
                again.answer.cancel()  # nobody waits for it
                late_s = self.random.random() ** 3 * AGAIN_S
                self.clock.after(self._delay(wire) + late_s, self._arrive, again)

    def _arrive(self, exchange: Exchange) -> None:
        wire, member = self.wire(exchange.host), exchange.member
        if wire.cut:
            wire.held.append((exchange.sent_at, lambda: self._arrive(exchange)))
        elif not member.up:
            exchange.fail(EtcdUnreachable("closed the connection", closed=True))
        elif member.frozen or member.cut:
            member.backlog.append(lambda: self._arrive(exchange))
        else:
            member.active[exchange] = None
            self._serve(exchange)

    def _serve(self, exchange: Exchange) -> None:
        local = exchange.path.startswith("/maintenance/") or exchange.request.get("serializable")
        if self.leader_now is None and not local:
            if exchange.wants_leader and self.clock.now() - self.leaderless_since > NO_LEADER_S:
                self._reply(exchange, None, Refused(UNAVAILABLE, "no leader"))
            else:
                self._waiting.append(exchange)
                self.clock.after(PROPOSAL_S, self._give_up, exchange)
                if exchange.wants_leader:
                    self.clock.after(NO_LEADER_S, self._tell_leaderless, exchange)
            return
        self._expire()
        if _future(exchange.token, self.store.index) and not local:
            return  # held back until the log is that long
        try:
            self._may(exchange)
            if exchange.stream is not None:
                self._watch(exchange, exchange.stream)
                return
            answer, changes = self._carry_out(exchange.path, exchange.request, exchange.member)
        except Refused as refused:
            self._reply(exchange, None, refused)
            return
        self.on_answer(exchange)
        self._reply(exchange, answer, None)
        self._tell(exchange, changes)

    def _tell_leaderless(self, exchange: Exchange) -> None:
        if exchange in self._waiting and self.leader_now is None:
            self._waiting.remove(exchange)
            self._reply(exchange, None, Refused(UNAVAILABLE, "no leader"))

    def _give_up(self, exchange: Exchange) -> None:
        if exchange in self._waiting:
            self._waiting.remove(exchange)
            self._reply(exchange, None, Refused(UNAVAILABLE, "request timed out"))

    def _reply(self, exchange: Exchange, answer: Any, refused: Refused | None) -> None:
        wire = self.wire(exchange.host)
        if wire.lost and self.random.random() < wire.lost / 2:
            exchange.member.active.pop(exchange, None)
            return
        self.clock.after(self._delay(wire), self._answered, exchange, answer, refused)

    def _answered(self, exchange: Exchange, answer: Any, refused: Refused | None) -> None:
        member, wire = exchange.member, self.wire(exchange.host)
        if wire.cut:
            wire.held.append((exchange.sent_at, lambda: self._answered(exchange, answer, refused)))
        elif member.frozen or member.cut:
            member.backlog.append(lambda: self._answered(exchange, answer, refused))
        else:
            member.active.pop(exchange, None)
            if refused is not None:
                exchange.fail(EtcdError(refused.code, refused.message))
            else:
                exchange.done(answer)

    # ---- what is agreed on

    def _may(self, exchange: Exchange) -> None:
        """Whether the sender may do this."""
        users, path = self.store.users, exchange.path
        if not users.on or path.startswith(OPEN) or path == "/auth/authenticate":
            return
        if not exchange.token:
            if path.startswith("/lease/"):
                return
            raise Refused(INVALID, "user name is empty")
        user = users.tokens.get(exchange.token)
        if user is None:
            raise Refused(NO_TOKEN, "invalid auth token")
        for body, write in touched(path, exchange.request):
            self.store.check(user, body["key"], body.get("range_end", ""), write=write)

    def _carry_out(
        self, path: str, request: Json, member: Member | None = None
    ) -> tuple[dict[str, Any], list[Happened]]:
        if path in ("/kv/put", "/kv/txn") and _size(request) > MAX_BYTES:
            raise Refused(INVALID, "request is too large")
        if (write := WRITES.get(path)) is not None:
            return write(self.store, request)
        return READS[path](self, request, member or self.members[0]), []

    def grant(self, request: Json) -> dict[str, Any]:
        number = int(request.get("ID", 0)) or self._leases.getrandbits(62) + 1
        answer = self.store.grant(int(request["TTL"]), number, self.clock.now())
        self._expect_end()
        return answer

    def authenticate(self, request: Json) -> dict[str, Any]:
        users = self.store.users
        self._logins += 1
        if not users.on:
            raise Refused(PRECONDITION, "authentication is not enabled")
        if users.passwords.get(request["name"]) != request["password"]:
            raise Refused(INVALID, "authentication failed, invalid user ID or password")
        self.store.index += 1
        letters = "".join(TOKEN_LETTERS[int(self._leases.random() * 26)] for _ in range(16))
        token = f"{letters}.{self.store.index}"
        users.tokens[token] = request["name"]
        return {"header": self.store.header(), "token": token}

    def status(self, member: Member) -> dict[str, Any]:
        header = {**self.store.header(), "member_id": str(member.id)}
        leader = str(self.leader_now.id) if self.leader_now and member.well else "0"
        return {"header": header, "version": self.version, "dbSize": "20480", "leader": leader}

    def _tell(self, exchange: Exchange | None, changes: list[Happened]) -> None:
        if not changes:
            return
        self.on_change(exchange, changes)
        new = changes[0].now.revision
        for member in self.members:
            for stream in member.streams if member.well else ():
                if stream.next < new:
                    self.catch_up([stream])
                elif found := [each for each in changes if within(each.now.key, stream.key, stream.end)]:
                    self._push(stream, found)
                else:
                    stream.next = new + 1

    # ---- leases

    def _expect_end(self) -> None:
        """See that somebody looks when the next lease ends."""
        loop = getattr(self.clock, "loop", None)
        if self.store.leases and (self._expiry is None or self._expiry is not (loop or self)):
            self._expiry = loop or self
            ends = min(each.ends for each in self.store.leases.values())
            wait_s = max(ends - self.clock.now(), 0.0) + self.random.random() * LATE_S
            self.clock.after(wait_s + 0.01, self._end_leases)

    def _end_leases(self) -> None:
        self._expiry = None
        self._expire()
        self._expect_end()

    def _expire(self) -> None:
        """Revoke what has ended; only a leader does, and with a quorum."""
        if self.leader_now is not None:
            for number in self.store.overdue(self.clock.now()):
                _, changes = self.store.revoke(number)
                self._tell(None, changes)

    # ---- members

    def reconsider(self) -> None:
        """Who leads, after a member came or went."""
        well = sum(each.well for each in self.members)
        if self.leader_now is not None and (not self.leader_now.well or 2 * well <= len(self.members)):
            self.leader_now, self.leaderless_since = None, self.clock.now()
            self.clock.after(WATCH_ENDS_S, self._end_watches, self._elections)
        if self.leader_now is None and 2 * well > len(self.members):
            self._elections += 1
            low, high = self.election_s
            self.clock.after(low + self.random.random() * (high - low), self._elect, self._elections)

    def _elect(self, number: int) -> None:
        well = [each for each in self.members if each.well]
        if number != self._elections or self.leader_now is not None or 2 * len(well) <= len(self.members):
            return
        self.leader_now = well[int(self.random.random() * len(well))]
        try:
            self.store.promote(self.clock.now())
        except RuntimeError:  # started by a fixture, before there is a loop
            return
        self._expect_end()
        waiting, self._waiting = self._waiting, []
        for exchange in waiting:
            if exchange.member.well:
                self._serve(exchange)
        for member in self.members:
            self.catch_up(member.streams)

    def _end_watches(self, number: int) -> None:
        """Members that know no leader end the watches that asked for one."""
        if self.leader_now is not None or number != self._elections:
            return
        for member in self.members:
            for stream in list(member.streams) if member.well else ():
                self._line(stream, _error(UNAVAILABLE, "etcdserver: no leader"))
                member.streams.pop(stream, None)

    # ---- watches

    def _watch(self, exchange: Exchange, stream: Stream) -> None:
        body = exchange.request["create_request"]
        stream.key, stream.end = decoded(body["key"]), decoded(body.get("range_end", ""))
        stream.next = int(body.get("start_revision", 0)) or self.store.revision + 1
        self._reply(exchange, stream, None)
        header = self.store.header()
        self._line(stream, _line({"header": header, "created": True}))
        if stream.next < self.store.compacted:
            lost = {"header": header, "canceled": True, "compact_revision": str(self.store.compacted)}
            self._line(stream, _line(lost))
            return
        exchange.member.streams[stream] = None
        self.catch_up([stream])

    def catch_up(self, streams: Iterable[Stream]) -> None:
        """Send what streams have missed."""
        for stream in list(streams):
            if not stream.member.well or stream.next > self.store.revision:
                continue
            if stream.next <= self.store.compacted and stream.next < self.store.compacted:
                lost = {"header": self.store.header(), "canceled": True}
                self._line(stream, _line({**lost, "compact_revision": str(self.store.compacted)}))
                stream.member.streams.pop(stream, None)
            elif found := self.store.since(stream.next, stream.key, stream.end):
                self._push(stream, found)
            stream.next = self.store.revision + 1

    def _push(self, stream: Stream, changes: list[Happened]) -> None:
        stream.next = changes[-1].now.revision + 1
        events = ",".join([each.now.event for each in changes])  # written once, however many watch it
        line = f'{{"result":{{"header":{{"revision":"{self.store.revision}"}},"events":[{events}]}}}}\n'
        self._line(stream, line.encode())

    def _line(self, stream: Stream, line: bytes) -> None:
        stream.arrives = max(stream.arrives, self.clock.now() + self._delay(self.wire(stream.host)))
        self.clock.after(stream.arrives - self.clock.now(), self._bring, stream, line)

    def _bring(self, stream: Stream, line: bytes) -> None:
        wire = self.wire(stream.host)
        if stream.closed:
            return
        if wire.cut or stream.member.cut:
            (wire if wire.cut else stream.member).lines.append((stream, line))
        else:
            stream.take(line)


class SimulatedTransport:
    """Stands for `Transport`: one client's connections."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._timeout_s = settings.request_timeout_s
        self._connected: set[str] = set()
        self._streams: dict[Stream, None] = {}

    async def call(
        self, base: str, path: str, request: Json, *, token: str = "", leader: bool = True, bulk: bool = False
    ) -> Json:
        del bulk
        found: Json = await self._exchange(base, path, request, token, leader, None)
        return found

    async def open_stream(self, base: str, path: str, request: Json, *, token: str = "") -> Stream:
        program = PROGRAM.get(None)
        stream = Stream(CLUSTERS[base].member(base), program.host if program else "", program)
        await self._exchange(base, path, request, token, leader=True, stream=stream)
        self._streams[stream] = None
        stream.opened()
        return stream

    async def _exchange(
        self, base: str, path: str, request: Json, token: str, leader: bool, stream: Stream | None
    ) -> Any:
        cluster = CLUSTERS.get(base)
        if cluster is None:
            raise EtcdUnreachable("connection refused", sent=False)
        loop, program = asyncio.get_running_loop(), PROGRAM.get(None)
        if isinstance(cluster.clock, RealClock):
            cluster.clock.loop = loop
        exchange = Exchange(
            cluster.member(base), path, request, token, leader, loop.create_future(), program,
            program.host if program else "", cluster.clock.now(), stream,
        )  # fmt: skip
        timer = loop.call_later(self._timeout_s, exchange.fail, EtcdUnreachable("timed out", silent=True))
        try:
            cluster.send(exchange, connected=base in self._connected, timeout_s=self._timeout_s)
            answer = await exchange.answer
        except EtcdUnreachable:
            self._connected.discard(base)
            raise
        finally:
            timer.cancel()
        self._connected.add(base)
        return answer

    async def close(self) -> None:
        for stream in self._streams:
            stream.abort()
        self._streams.clear()


def take_over_transport() -> None:
    """From here on clients whose endpoints are simulated use this transport, all others the real one."""
    real = EtcdCluster._open
    if real.__name__ == "opened":
        return

    async def opened(self: Any) -> Any:
        if any(base in CLUSTERS for base in self.bases):
            return SimulatedTransport(self._settings)
        return await real(self)

    setattr(EtcdCluster, "_open", opened)  # noqa: B010 - a method is replaced on purpose


def _line(result: Json) -> bytes:
    return json.dumps({"result": result}).encode() + b"\n"


def _error(code: int, message: str) -> bytes:
    return json.dumps({"error": {"grpc_code": code, "message": message}}).encode() + b"\n"


def _member(member: Member) -> dict[str, Any]:
    return {"ID": str(member.id), "name": member.name, "clientURLs": [member.url], "peerURLs": [member.url]}


def touched(path: str, request: Json) -> list[tuple[Json, bool]]:
    """The keys that a request is about, each with whether it is written."""
    if path == "/watch":
        return [(request["create_request"], False)]
    if path == "/kv/txn":
        ops = [each for op in (*request.get("success", ()), *request.get("failure", ())) for each in op.items()]
        compared = [(each, False) for each in request.get("compare", ())]
        return [*compared, *((body, kind != "request_range") for kind, body in ops)]
    return [(request, path != "/kv/range")] if path.startswith("/kv/") and "key" in request else []


WRITES: dict[str, Callable[[Store, Json], tuple[dict[str, Any], list[Happened]]]] = {
    "/kv/put": Store.put,
    "/kv/txn": Store.txn,
    "/kv/deleterange": Store.delete,
    "/lease/revoke": lambda store, request: store.revoke(int(request["ID"])),
}
READS: dict[str, Callable[[SimulatedEtcd, Json, Member], dict[str, Any]]] = {
    "/kv/range": lambda etcd, request, _: etcd.store.range(request),
    "/kv/compaction": lambda etcd, request, _: etcd.store.compact(int(request["revision"])),
    "/lease/grant": lambda etcd, request, _: etcd.grant(request),
    "/lease/keepalive": lambda etcd, request, _: etcd.store.renew(int(request["ID"]), etcd.clock.now()),
    "/lease/timetolive": lambda etcd, request, _: etcd.store.time_to_live(int(request["ID"]), etcd.clock.now()),
    "/auth/authenticate": lambda etcd, request, _: etcd.authenticate(request),
    "/maintenance/status": lambda etcd, _, member: etcd.status(member),
    "/cluster/member/list": lambda etcd, _request, _: {
        "header": etcd.store.header(),
        "members": [_member(each) for each in etcd.members],
    },
}


def _size(request: Json) -> int:
    ops = [body for op in request.get("success", ()) for body in op.values()] or [request]
    return sum(len(each.get("value", "")) for each in ops) * 3 // 4


def _future(token: str, index: int) -> bool:
    """Whether a token is of a log that is longer than this one."""
    number = token.rpartition(".")[2]
    return number.isdecimal() and int(number) > index


__all__ = ["Member", "SimulatedEtcd", "SimulatedTransport", "VirtualClock", "Wire", "take_over_transport"]
