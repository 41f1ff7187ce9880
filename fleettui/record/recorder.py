"""Recording: the registry followed, and what changed in it written down once a second.

Owns when a segment is begun: with the first listing, whenever the registry was listed anew (etcd compacted what was
missed, or another one answers), when this clock was put, and when so much has changed that opening the record would
take long. It decides nothing and writes nothing to the registry: an operator who may only read is enough. Outages
are waited out and stand in the record; so does a disk that was full.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

from fleettui.record.format import Head, Moment
from fleettui.record.writer import RecordWriter
from registry.etcd import Etcd
from registry.keys import Address, Keys, Table
from registry.mirror import Mirror
from registry.program.version import installed_version
from registry.sync.follow import ConnectionState, Follower

log = logging.getLogger("fleet.record")

RECORDED = tuple(table for table in Table if table is not Table.CRASHES)  # lines of journals stay where they are
EVERY_S = 1.0
STILL_S = 30.0  # without a change, a line says so: what is missing longer was not recorded
SEGMENT_S = 6 * 3600.0
AWAY_S = 30.0  # longest pause before a registry that does not answer is tried again
CLOCK_S = 5.0  # a clock that goes so far in one step was put, or its machine slept
LEAST = 20_000  # changes in a segment before it may be followed by another one
AGAIN_S = 30.0  # after a write that failed


def as_it_lies(address: Address, value: bytes, key: str) -> bytes:  # noqa: ARG001 - as `decode`
    """A value as it lies in etcd: what a mirror holds that only keeps it."""
    return value


class Recorder:
    """Writes one registry's record until it is cancelled. `told` gets its state in a line, when that changes."""

    def __init__(self, etcd: Etcd, keys: Keys, writer: RecordWriter, told: Callable[[str], None]) -> None:
        self._keys, self._writer, self._told = keys, writer, told
        self._follower = Follower(etcd, keys, tables=RECORDED, pinned=False, longest_away_s=AWAY_S, read=as_it_lies)
        self._why = "started"  # the next segment is begun, and why
        self._link = ConnectionState.CONNECTING
        self._begun = self._written = self._failed = 0.0  # monotonic
        self._ahead = time.time() - time.monotonic()

    async def run(self) -> None:
        """Record for ever. Raises what is no outage: a registry that is refused for good is waited for, too."""
        following = asyncio.create_task(self._follower.run(), name="follow the registry")
        try:
            while True:
                next_ = asyncio.create_task(self._follower.next(), name="await a change")
                await asyncio.wait({next_, following}, timeout=STILL_S, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()
                if next_.done():
                    update = next_.result()
                    await self._record(update.changed, reset=update.reset, link=update.link, reason=update.reason)
                else:
                    next_.cancel()
                    await self._record((), reset=False, link=self._follower.link, reason="")
                await asyncio.sleep(EVERY_S)
        finally:
            following.cancel()
            await asyncio.shield(asyncio.to_thread(self._end))

    async def _record(
        self, changed: tuple[Address, ...], *, reset: bool, link: ConnectionState, reason: str
    ) -> None:
        """Write what changed, or a segment's beginning where one is due; what cannot be written is left out."""
        now, clock = time.time(), time.monotonic()
        mirror, revision = self._follower.mirror, self._follower.revision
        put = now - clock - self._ahead
        self._ahead = now - clock
        if abs(put) > CLOCK_S:
            self._why = f"the clock went {'ahead' if put > 0 else 'back'} by {abs(put):.0f} s"
        elif reset and not self._why:
            self._why = "the registry was listed anew"
        elif not self._why and (self._is_long(mirror) or clock - self._begun > SEGMENT_S):
            self._why = "the next part"
        if self._failed and clock - self._failed < AGAIN_S:
            return
        moments = [Moment(now, link=str(link), reason=reason)] if link is not self._link else []
        try:
            if self._why:
                head = Head(now, self._follower.cluster_id or "", self._keys.prefix, socket.gethostname(),
                            installed_version(), self._why)  # fmt: skip
                values = {self._key(each): _now(mirror, each) for each in mirror.addresses(*RECORDED)}
                whole = Moment(now, revision, values, whole=bool(revision), link=str(link), reason=reason)
                await asyncio.to_thread(self._writer.begin, head, whole)
                self._begun = clock
            else:
                if changed:
                    moments.append(Moment(now, revision, {self._key(each): _now(mirror, each) for each in changed}))
                for moment in moments or [Moment(now)]:
                    await asyncio.to_thread(self._writer.write, moment)
        except OSError as error:
            self._failed = clock
            self._why = f"nothing was written for a while: {error.strerror or error}"
            self._writer.abandon()
            log.error("cannot write the record: %s; trying again in %.0f s", error.strerror or error, AGAIN_S)  # noqa: TRY400
            self._told(f"cannot write the record: {error.strerror or error}")
            return
        if self._failed or link is not self._link or not self._written:
            self._told(f"recording into {self._writer.directory}" if link is ConnectionState.LIVE else
                       f"the registry is {link}: {reason}")  # fmt: skip
        self._failed, self._link, self._why, self._written = 0.0, link, "", clock

    def _is_long(self, mirror: Mirror) -> bool:
        records = sum(mirror.count(table) for table in RECORDED)
        return self._writer.is_full or self._writer.changes > max(LEAST, 2 * records)

    def _key(self, address: Address) -> str:
        return self._keys.at(address).removeprefix(self._keys.prefix)

    def _end(self) -> None:
        try:
            if self._writer.is_open:
                self._writer.write(Moment(time.time(), end="the recorder was stopped"))
            self._writer.close()
        except OSError as error:
            log.warning("cannot end the record: %s", error.strerror or error)


def _now(mirror: Mirror, address: Address) -> bytes | None:
    value: bytes | None = mirror.row(address.table, address)
    return value
