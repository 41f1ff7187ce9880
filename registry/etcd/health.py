"""What is known of etcd's endpoints from the calls that were made anyway: which answer, and whom they refuse.

Owns no call. `EtcdHealth` takes in how each attempt at an endpoint ended; `keep_watch` tells a daemon's log of an
endpoint that is down and of its return, once each. An endpoint that is not in use is asked now and then, since
nobody would notice its death before it is needed.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from registry.etcd.backoff import jittered
from registry.etcd.wire import EtcdError, EtcdUnreachable
from registry.frozen import dataclass
from registry.messages import ENDPOINT_BACK, ENDPOINT_DOWN
from registry.runtime import waits
from registry.runtime.logs import logger

log = logger("fleet.etcd")

SETTLE_S = 1.0  # an endpoint that is back within this time was never down
ASK_EVERY_S = 30.0  # how often endpoints that are not in use are asked
OPEN_PATHS = ("/lease/", "/maintenance/", "/cluster/")  # answered whoever asks: no proof of our rights
BUSY = (8,)  # too many requests, or no room: it answers all the same
LOGIN = "login"


@dataclass(frozen=True, slots=True)
class EtcdTrouble:
    """Since when something is wrong (seconds since 1970), and what."""

    since: float
    reason: str


class Timed(Protocol):
    """Who is told how long an attempt took."""

    def __call__(self, path: str, seconds: float, *, failed: bool) -> None:
        """Take in one attempt at a path of etcd's gateway."""


class EtcdHealth:
    """The endpoints of one etcd cluster as their last answers show them."""

    def __init__(self, bases: tuple[str, ...]) -> None:
        self.bases = bases
        self.down: dict[str, EtcdTrouble] = {}
        self.told: Mapping[str, EtcdTrouble] = {}  # those of them that `keep_watch` has told
        self.answered_at: dict[str, float] = {}  # loop time
        self._denials: dict[str, EtcdTrouble] = {}  # by path, or LOGIN
        self._last_answer = 0.0
        self._changed = waits.Signal()
        self.timed: Timed | None = None  # told of each attempt

    @property
    def away(self) -> EtcdTrouble | None:
        """Since when no endpoint at all has answered; None while one does or none was tried."""
        if len(self.down) < len(self.bases):
            return None
        since = self._last_answer or min(each.since for each in self.down.values())
        return EtcdTrouble(since, "; ".join(f"{base} {each.reason}" for base, each in self.down.items()))

    @property
    def endpoints(self) -> str:
        """How many endpoints answer and which do not; "" when all do, or none does, or there is but one."""
        return "" if self.away else endpoints_told(self.bases, self.told)

    @property
    def denied(self) -> EtcdTrouble | None:
        """Since when etcd refuses our user, and how; None when it does not."""
        return min(self._denials.values(), key=lambda each: each.since, default=None)

    @property
    def locked_out(self) -> bool:
        """Whether etcd does not take our user and password at all, as when the user was revoked."""
        return LOGIN in self._denials

    @contextmanager
    def attempt(self, base: str, path: str) -> Iterator[None]:
        """Take in how the attempt in this block ends; what fails while others are answered says nothing."""
        began = waits.now()
        try:
            yield
        except EtcdUnreachable as outage:
            self._time(path, began, failed=True)
            if self.answered_at.get(base, 0.0) <= began:
                self.unreachable(base, str(outage))
            raise
        except EtcdError as refusal:
            self._time(path, began, failed=True)
            if refusal.remembered:
                raise
            if refusal.transient and refusal.code not in BUSY:
                self.unreachable(base, str(refusal))
            else:
                self.answered(base)
                if refusal.permanent:
                    self._deny(path, refusal)
            raise
        self._time(path, began, failed=False)
        self.answered(base)
        if not path.startswith(OPEN_PATHS):
            self._grant(path)

    def _time(self, path: str, began: float, *, failed: bool) -> None:
        if self.timed is not None:
            self.timed(path, waits.now() - began, failed=failed)

    def answered(self, base: str) -> None:
        """An endpoint has answered."""
        self._last_answer = time.time()
        self.answered_at[base] = waits.now()
        if self.down.pop(base, None):
            self._changed.set()

    def unreachable(self, base: str, reason: str) -> None:
        """An endpoint has not answered, or cannot serve."""
        if base not in self.down:
            self._changed.set()
        since = self.down[base].since if base in self.down else time.time()
        self.down[base] = EtcdTrouble(since, reason)

    async def change(self) -> None:
        """Wait until something differs from when this was called last."""
        await self._changed.wait()
        self._changed.clear()

    def _deny(self, path: str, refusal: EtcdError) -> None:
        login = any(words in refusal.message for words in ("authentication failed", "user name is empty"))
        place = LOGIN if login else path
        if place not in self._denials:
            self._changed.set()
            self._denials[place] = EtcdTrouble(time.time(), str(refusal))

    def _grant(self, path: str) -> None:
        for place in (path, LOGIN):
            if self._denials.pop(place, None):
                self._changed.set()


def endpoints_told(bases: tuple[str, ...], down: Mapping[str, EtcdTrouble]) -> str:
    """How many endpoints answer and which do not, "" when all do or there is but one."""
    if not down or len(bases) < 2:
        return ""
    names, do = ", ".join(down), "does" if len(down) == 1 else "do"
    return f"{len(bases) - len(down)} of {len(bases)} etcd endpoints answer: {names} {do} not"


def moment(at: float) -> str:
    """A time (seconds since 1970) on this machine's clock, as systemctl writes it."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


async def keep_watch(
    health: EtcdHealth,
    ask: Callable[[float], Awaitable[None]],
    on_change: Callable[[], None],
    every_s: float = ASK_EVERY_S,
) -> None:
    """Keep `health.told`, call `on_change` whenever health changes, and log each endpoint that goes or comes.

    `ask(quiet_s)` asks those endpoints that are down or have not answered for so long. An endpoint counts as down
    when it failed, and failed again when it was asked.
    """
    while True:
        await ask(every_s)
        if not health.away:  # else the registry does not answer, which is told elsewhere
            for base, trouble in health.down.items():
                if base not in health.told:
                    silent = "etcd endpoint %s does not answer: %s"
                    log.warning(silent, base, trouble.reason, extra=ENDPOINT_DOWN.of())
            for base in [each for each in health.told if each not in health.down]:
                log.info("etcd endpoint %s answers again", base, extra=ENDPOINT_BACK.of())
            health.told = dict(health.down)
        on_change()
        try:
            async with waits.timeout(jittered(every_s, 0.8, 1.2)):
                await health.change()
        except TimeoutError:
            continue
        on_change()
        await waits.sleep(SETTLE_S)
