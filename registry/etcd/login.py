"""The token of one user: fetched when needed, once at a time, and again when it is good no more.

Owns when a login is due and when it is not. Due: there is no token, etcd refuses it, or etcd holds requests back
that carry it though it is alive. The last is what a restored etcd does: a token ends in an index of its raft log,
and one from before the restore lies in the future of the new log, for which etcd waits instead of refusing it.
Not due: before its time after a denial, unless one of our files has changed; a login costs the server 80 ms of CPU.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from registry.errors import CredentialsUnusable
from registry.etcd import credentials
from registry.etcd.backoff import grown, jittered
from registry.etcd.endpoint import EtcdSettings
from registry.etcd.wire import EtcdError, EtcdUnreachable
from registry.runtime import waits
from registry.runtime.logs import logger

log = logger("fleet.etcd")

T = TypeVar("T")

DENIED_S = (2.0, 30.0)
"""After a denial, the shortest and the longest time without a login."""

DOUBT_S = (5.0, 60.0)
"""From one doubt in a token to the next: the shortest time, and the longest while no login helps."""

OUTDATED = 5
"""How often a request is sent while users are changed at the same time, one after the other."""

DEADLINE_CODES = (1, 4)  # cancelled, deadline exceeded: something between etcd and us gave up waiting first


class EtcdLogin:
    """`authenticate(base, password)` gives a token, `is_alive(base)` whether the endpoint answers at all."""

    def __init__(
        self,
        settings: EtcdSettings,
        authenticate: Callable[[str, str], Awaitable[str]],
        is_alive: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._user = settings.username
        self._settings = settings
        self._authenticate = authenticate
        self._is_alive = is_alive
        self._token = ""
        self._logins = 0  # which token it is; still "" when etcd wants none
        self._proofs = 0  # answers that etcd gave to a token that it looked at
        self._one = waits.lock()
        self._denied: EtcdError | None = None
        self._denials = 0  # in a row
        self._denied_until = 0.0
        self._denied_with: credentials.Stamp = ()
        self._doubting = waits.lock()
        self._doubts = 0  # logins for a doubt since a token last worked
        self._doubt_at: dict[str, float] = {}  # no earlier than this, by endpoint

    async def run(self, base: str, exchange: Callable[[str], Awaitable[T]], *, proves: bool = False) -> T:
        """Do the exchange with the token; once more with a new one when etcd refuses it.

        When etcd kept silent about it, the token is renewed for the next exchange, and the silence is raised.
        `proves`: etcd looks at the token before it answers this.
        Raises CredentialsUnusable, EtcdError, EtcdUnreachable.
        """
        if not self._user:
            return await exchange("")
        if not self._logins:
            await self._replace(base, login=0)
        login, proofs = self._logins, self._proofs
        try:
            answer = await exchange(self._token)
        except EtcdUnreachable as outage:
            if outage.silent and self._proofs == proofs:
                await self._doubt(base, login)
            raise
        except EtcdError as refusal:
            if refusal.code in DEADLINE_CODES and self._proofs == proofs:
                await self._doubt(base, login)
            if not refusal.token_refused:
                raise
        else:
            self._worked(proves=proves)
            return answer
        await self._replace(base, login)
        return await self._first(exchange, proves=proves)

    async def _first(self, exchange: Callable[[str], Awaitable[T]], *, proves: bool) -> T:
        """Do the exchange with a token just fetched: if that one is refused as well, etcd denies our user."""
        login = self._logins
        for attempts_left in reversed(range(OUTDATED)):
            try:
                answer = await exchange(self._token)
            except EtcdError as refusal:
                if refusal.outdated and attempts_left:
                    continue
                if refusal.token_refused and not refusal.outdated and login == self._logins:
                    self._note_denial(refusal)
                raise
            self._worked(proves=proves)
            return answer
        raise AssertionError("unreachable")

    async def renew(self, base: str) -> bool:
        """Fetch a new token now. False without a user."""
        if not self._user:
            return False
        await self._replace(base, self._logins)
        return True

    def _worked(self, *, proves: bool) -> None:
        if proves:
            self._proofs += 1
            self._doubts = self._denials = 0

    async def _doubt(self, base: str, login: int) -> None:
        """Renew a token with which a request was held back, if the endpoint is alive. Raises none of that."""
        async with self._doubting:
            now = waits.now()
            if login != self._logins or now < self._doubt_at.get(base, 0.0):
                return
            shortest_s, longest_s = DOUBT_S
            self._doubt_at[base] = now + grown(shortest_s, self._doubts, longest_s)
            if not await self._is_alive(base):
                return
            self._doubts += 1
            log.warning("%s is alive and holds requests back: logging in again", base)
            try:
                await self._replace(base, login)
            except (EtcdError, EtcdUnreachable, CredentialsUnusable) as error:
                log.debug("no new login: %s", error)

    async def _replace(self, base: str, login: int) -> None:
        """Log in, unless somebody else has done so since that login, or a denial is too fresh."""
        async with self._one:
            if self._logins != login:
                return
            files = credentials.stamp(self._settings.files)
            if self._denied is not None and _now() < self._denied_until and files == self._denied_with:
                refusal = EtcdError(self._denied.code, self._denied.message, complete=self._denied.complete)
                refusal.remembered = True
                raise refusal
            try:
                self._token = await self._fetch(base)
            except EtcdError as refusal:
                self._note_denial(refusal, files)
                raise
            self._denied = None
            self._logins += 1

    def _note_denial(self, refusal: EtcdError, files: credentials.Stamp | None = None) -> None:
        """Let no login be tried for a while, longer each time."""
        shortest_s, longest_s = DENIED_S
        pause_s = jittered(grown(shortest_s, self._denials, longest_s), 0.8)
        self._denials += 1
        self._denied, self._denied_until = refusal, _now() + pause_s
        self._denied_with = credentials.stamp(self._settings.files) if files is None else files

    async def _fetch(self, base: str) -> str:
        """A new token, "" where etcd asks for none. Whatever fails here, the call itself has not been sent."""
        password = await waits.in_thread(credentials.read_password, self._settings.password_file)
        try:
            return await self._authenticate(base, password)
        except EtcdUnreachable as outage:
            raise EtcdUnreachable(str(outage), sent=False, closed=outage.closed) from None
        except EtcdError as refusal:
            if "authentication is not enabled" in refusal.message:
                return ""
            if refusal.transient:
                raise EtcdUnreachable(f"login failed: {refusal}", sent=False) from None
            raise


def _now() -> float:
    return waits.now()
