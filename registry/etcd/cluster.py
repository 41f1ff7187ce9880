"""One call to etcd as a cluster: which endpoint, how often, as whom, and what a failure means to the caller.

Owns the sticky choice of an endpoint, the repetition of what may be repeated, the login token and the mapping of
outcomes to our errors. Reads go round all endpoints twice. A write is sent again only when it is certain that
etcd took nothing in; otherwise RegistryUnavailable leaves the question open, and guarded transactions settle it.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from registry.errors import Conflict, LeaseLost, RegistryDenied, RegistryError, RegistryUnavailable, UserError
from registry.etcd import credentials
from registry.etcd.backoff import jittered
from registry.etcd.endpoint import EtcdSettings, base_urls, check
from registry.etcd.health import EtcdHealth
from registry.etcd.login import EtcdLogin
from registry.etcd.wire import EtcdError, EtcdUnreachable, Glimpse, Json, TooLarge, decode_revision, shown, touched
from registry.frozen import dataclass
from registry.runtime import waits

if TYPE_CHECKING:
    from registry.etcd.blocking import BlockingStream, BlockingTransport
    from registry.etcd.transport import Transport, WatchStream

T = TypeVar("T")

MAX_CALLS = 30
"""Calls under way at once: more only makes the last of them wait for seconds."""

ROUNDS = 2
PATIENCE = 2
"""While a leader is being elected, go on for this many request time-outs."""

PAUSE_S = 0.15

CHECKED = ("/kv/", "/lease/grant", "/lease/revoke")
"""Calls for which etcd looks at the token: an answer proves it good."""

WRITES = ("/kv/put", "/kv/deleterange")

PROBE_S = 1.0
"""How long an endpoint may take to show that it is alive, where it has held a request back."""


class AnswerTooLarge(RegistryUnavailable):
    """More than is read at once: ask for less."""


class Compacted(RegistryError):
    """The history asked for is gone: list again and watch from there. `compact_revision` is 0 when unknown."""

    def __init__(self, reason: str, compact_revision: int = 0) -> None:
        super().__init__(reason)
        self.compact_revision = compact_revision


@dataclass(frozen=True, slots=True)
class Heard:
    """The last sign of life of an endpoint: when (loop time, seconds) and at which revision of the store."""

    at_s: float
    revision: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt at one endpoint.

    `applied`: the change may have been made all the same; `electing`: the endpoint waits for a leader.
    """

    reason: str
    applied: bool
    electing: bool = False


class EtcdCluster:
    """The way to one etcd cluster. Nothing is imported or opened before the first call."""

    def __init__(self, settings: EtcdSettings) -> None:
        check(settings)
        self.bases = base_urls(settings)
        self.current = _any_of(self.bases)  # spread a fleet of clients over the members
        self.timeout_s = settings.request_timeout_s
        self._settings = settings
        self._transport: Transport | BlockingTransport | None = None
        self._closed = False
        self._opening = waits.lock()
        self._slots = waits.slots(MAX_CALLS)
        self._login = EtcdLogin(settings, self._authenticate, self._is_alive)
        self._heard: dict[str, Heard] = {}
        self.health = EtcdHealth(self.bases)

    async def close(self) -> None:
        """End every connection, watches included, for good."""
        self._closed = True
        if self._transport is not None:
            await self._transport.close()

    async def call(
        self,
        path: str,
        request: Json,
        read: Callable[[Json], T],
        *,
        repeatable: bool,
        leader: bool = True,
        bulk: bool = False,
    ) -> T:
        """One call, over as many endpoints as needed; `read` turns the answer into a value.

        What `read` cannot understand counts as no answer. Raises the errors of `registry.errors`, and Compacted.
        """
        failures: dict[str, str] = {}
        give_up_s = _now() + PATIENCE * self.timeout_s
        electing: list[str] = []
        for turn in itertools.count(1):
            first = self.bases.index(self.current)
            # A dead member takes a whole time-out: it is not asked again where others only wait for a leader.
            bases, electing = electing or [*self.bases[first:], *self.bases[:first]], []
            for base in bases:
                try:
                    answer = read(await self.call_at(base, path, request, leader=leader, bulk=bulk))
                except (EtcdUnreachable, EtcdError) as error:
                    failure = self._judge(base, error)
                else:
                    self.current = base
                    return answer
                self.leave(base)
                failures[base] = failure.reason
                if failure.electing:
                    electing.append(base)
                if failure.applied and not repeatable:
                    raise unavailable(failures, ambiguous=True)
            if _now() >= give_up_s or (turn >= ROUNDS and not electing):
                break
            await waits.sleep(jittered(PAUSE_S, 0.5, 1.5))
        raise unavailable(failures)

    def _judge(self, base: str, error: EtcdUnreachable | EtcdError) -> Failure:
        """What a failure means for the next attempt; raises where no other endpoint would say otherwise."""
        if isinstance(error, TooLarge):
            raise AnswerTooLarge(f"etcd is not available: {base} ({error})")
        if isinstance(error, EtcdUnreachable):
            return Failure(self._tell(base, error), applied=error.sent)
        if not error.transient:
            raise explain(error) from None
        remedy = ": compact and defragment it, then disarm its alarm" if error.full else ""
        return Failure(f"{error}{remedy}", applied=not error.not_applied, electing=error.no_leader)

    async def call_at(
        self, base: str, path: str, request: Json, *, leader: bool = True, bulk: bool = False
    ) -> dict[str, Any]:
        """One call at one endpoint, with a new login if the token has died. Raises EtcdError or EtcdUnreachable."""
        transport = await self._ready()

        async def exchange(token: str) -> Json:
            return await transport.call(base, path, request, token=token, leader=leader, bulk=bulk)

        with self.health.attempt(base, path):
            try:
                async with self._slots:
                    answer = await self._login.run(base, exchange, proves=path.startswith(CHECKED))
            except EtcdError as refusal:
                raise self.worded(refusal, path, request) from None
        if leader:
            self._heard[base] = Heard(_now(), decode_revision(answer.get("result", answer)))
        return dict(answer)

    async def open_stream(self, base: str, path: str, request: Json) -> WatchStream | BlockingStream:
        """Open a watch at one endpoint within the request time-out. Raises EtcdError or EtcdUnreachable."""
        transport = await self._ready()

        async def exchange(token: str) -> WatchStream | BlockingStream:
            try:
                async with waits.timeout(self.timeout_s):
                    return await transport.open_stream(base, path, request, token=token)
            except TimeoutError:
                raise EtcdUnreachable("timed out", silent=True) from None

        with self.health.attempt(base, path):
            return await self._login.run(base, exchange)

    def worded(self, refusal: EtcdError, path: str, request: Json) -> EtcdError:
        """The refusal; a missing right with the user, what was to be done, and who may allow it."""
        if not refusal.forbidden or refusal.complete:
            return refusal
        user = self._settings.username or "nobody"
        if path.startswith("/auth/"):
            what, remedy = "manage users", "only root may"
        else:
            keys, write = touched({"value": ""} | dict(request) if path in WRITES else request)
            key, remedy = keys[0] if keys else "", "a role of this user must allow it"
            if keys and self._settings.remedy:
                key, remedy = self._settings.remedy(user, keys, write)
            what = f"{'write' if write else 'read'} {shown(key)}" if key else "do this"
        told = EtcdError(
            refusal.code, f"etcd does not let {user} {what} (permission denied): {remedy}", complete=True
        )
        told.remembered = refusal.remembered
        return told

    async def ask_quiet(self, quiet_s: float) -> None:
        """Ask each endpoint that is down, or has not answered for so long, whether it serves. Never raises."""
        if len(self.bases) < 2 or self._closed:
            return

        async def ask(base: str) -> None:
            path = "/maintenance/status"  # which needs no login
            with suppress(EtcdUnreachable, EtcdError, RegistryError, UserError, ValueError, TypeError):
                transport = await self._ready()
                with self.health.attempt(base, path):
                    answer = await transport.call(base, path, {}, leader=False)
                    if not int(answer.get("leader", 0)):
                        raise EtcdUnreachable("has no leader")

        before = _now() - quiet_s
        quiet = [base for base in self.bases if self.health.answered_at.get(base, -math.inf) <= before]
        await waits.gather(*(ask(base) for base in dict.fromkeys((*quiet, *self.health.down))))

    async def glimpse(self, base: str) -> tuple[Json, Glimpse]:
        """What a member says of itself to anybody, be it one of ours or not, and what that shows of its host.

        Raises EtcdError or EtcdUnreachable, and CredentialsUnusable.
        """
        transport = await self._ready()
        try:
            return await transport.glimpse(base, "/maintenance/status")
        except EtcdUnreachable as error:
            raise EtcdUnreachable(self._tell(base, error), sent=error.sent) from None

    async def new_login(self, base: str) -> bool:
        """Drop the token for a new one. False without a user: nothing to renew."""
        return await self._login.renew(base)

    def heard_since(self, base: str, since_s: float) -> Heard | None:
        """The endpoint's last sign of life, if it is later than `since_s` (loop time)."""
        heard = self._heard.get(base)
        return heard if heard is not None and heard.at_s >= since_s else None

    def leave(self, base: str) -> None:
        """Turn to the next endpoint, unless another call has done so already."""
        if self.current == base:
            self.current = self.bases[(self.bases.index(base) + 1) % len(self.bases)]

    def _tell(self, base: str, outage: EtcdUnreachable) -> str:
        if not outage.closed or base in self._heard:
            return str(outage)
        if self._settings.why_closed and (why := self._settings.why_closed()):
            return f"{outage}: {why}"
        if base.startswith("https:") and outage.sent:  # the handshake was over; a reset may overtake the alert
            own = f"does not take the client certificate etcd.cert_file {self._settings.cert_file}"
            none = "wants a client certificate: set etcd.cert_file and etcd.key_file"
            return f"{outage} without an answer; perhaps it {own if self._settings.cert_file else none}"
        tls, other = ("no TLS", "http") if base.startswith("https:") else ("TLS", "https")
        return f"{outage} without an answer: if it speaks {tls}, write the endpoint with {other}://"

    async def _ready(self) -> Transport | BlockingTransport:
        if self._transport is None:
            async with self._opening:
                if self._transport is None:
                    self._transport = await self._open()
        if self._closed:
            await self._transport.close()
            raise RegistryError("this client of etcd is closed")
        return self._transport

    async def _open(self) -> Transport | BlockingTransport:
        """Import late and beside the loop: etcd3-py and aiohttp take a tenth of a second."""
        if waits.is_alone():
            from registry.etcd.blocking import BlockingTransport  # noqa: PLC0415 - one of the two is needed

            return BlockingTransport(self._settings)
        module = await waits.in_thread(importlib.import_module, "registry.etcd.transport")
        transport: Transport = module.Transport(self._settings)
        return transport

    def files(self) -> credentials.Stamp:
        """The state of the files that let us in; a denial may be over when it changes."""
        return credentials.stamp(self._settings.files)

    async def _is_alive(self, base: str) -> bool:
        """Whether the endpoint answers, with a leader, what needs no login."""
        transport = await self._ready()
        try:
            async with waits.timeout(PROBE_S):
                answer = await transport.call(base, "/maintenance/status", {}, leader=False)
        except EtcdError:
            return True
        except (EtcdUnreachable, TimeoutError):
            return False
        return str(answer.get("leader", "0")) != "0"

    async def _authenticate(self, base: str, password: str) -> str:
        transport = await self._ready()
        request = {"name": self._settings.username, "password": password}
        answer = await transport.call(base, "/auth/authenticate", request)
        token = answer.get("token")
        if not isinstance(token, str) or not token:
            raise EtcdUnreachable("answered a login without a token")
        return token


def _any_of(bases: Sequence[str]) -> str:
    if len(bases) == 1:
        return bases[0]
    import random  # noqa: PLC0415 - a short command with one endpoint does without

    return random.choice(bases)


def explain(refusal: EtcdError) -> RegistryError:
    """What etcd's refusal means to the caller."""
    if refusal.compacted:
        return Compacted("this revision of the registry has been compacted away")
    if refusal.lease_missing:
        return LeaseLost("the lease does not exist any more")
    if refusal.permanent:
        return RegistryDenied(_denial(refusal))
    if "lease already exists" in refusal.message:
        return Conflict("a lease of this number exists already")
    return RegistryError(f"etcd refused the request: {refusal}")


def _denial(refusal: EtcdError) -> str:
    if refusal.complete:
        return str(refusal)
    if "user name is empty" in refusal.message:
        return "etcd wants a user and password: set etcd.username and etcd.password_file"
    if "authentication failed" in refusal.message:
        return "etcd refused the user name or password: check etcd.username and etcd.password_file"
    return f"etcd refused: {refusal}"


def unavailable(failures: dict[str, str], *, ambiguous: bool = False) -> RegistryUnavailable:
    """The error that names every endpoint tried and what came of it."""
    tried = ", ".join(f"{base} ({reason})" for base, reason in sorted(failures.items()))
    doubt = "; the change may have happened nevertheless" if ambiguous else ""
    return RegistryUnavailable(f"etcd is not available: {tried}{doubt}")


def _now() -> float:
    return waits.now()
