"""Files that units need on this machine before they start: fetched once, checked, kept by their hash.

Owns the directory that keeps them, and the links by which units find them. What has arrived there whole is named by
its sha256; what is on its way is a hidden file beside it, which the next attempt goes on with. A fetch runs in a
thread of its own, at most so many at once, and is shared by all units that wait for it. One that failed is told to
them and tried again after pauses that grow; what is brought by `fleetctl push` is waited for in the same way. What
no unit here names is removed when room is needed, or once it is old.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import http.client
import logging
import os
import shutil
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from agentd.managed_unit import Refused
from agentd.unit_directory import UnitDirectory, entries_of, make_directory
from registry.errors import FleetError, UserError
from registry.units.artifacts import ARTIFACT, SCHEMES, Artifact, artifacts_of
from registry.units.name import service_of

if TYPE_CHECKING:
    from http.client import HTTPMessage

log = logging.getLogger("fleet.agent")

STORE = ".store"  # no unit is called so
AT_ONCE = 4  # fetches under way
TRIES = 3  # before a failure is told that may pass
PAUSE_S = (1.0, 300.0)  # between attempts
PUSHED_S = 2.0  # between looks for a file that somebody has to bring
SILENCE_S = 30.0  # without a byte
LONGEST_S = 3600.0
REDIRECTS = 5
CHUNK_BYTES = 1 << 18
SPARE_BYTES = 64 << 20  # of the disk, left to others
OLD_S = 7 * 86_400.0  # what no unit has named for so long goes

Told = Callable[[str], None]


class NotFetched(FleetError):
    """An attempt that brought nothing; the text says why. `passing`: the next one may."""

    def __init__(self, text: str, *, passing: bool = True) -> None:
        super().__init__(text)
        self.passing = passing


@dataclass(slots=True)
class _Pursuit:
    """One file that is not there yet, and the units that want it.

    Those that are `asking` wait for what comes of an attempt; those that were `told` will ask what they know.
    """

    artifact: Artifact
    units: dict[str, None] = field(default_factory=dict)
    asking: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    reason: str = ""  # why the last attempt failed
    answered: asyncio.Event = field(default_factory=asyncio.Event)  # an attempt has ended since anybody asked
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Artifacts:
    """The files of this machine. `limit_bytes`: what they all may take together.

    `retry` is told the units whose file has arrived, or is missing for another reason than they know.
    """

    def __init__(self, store: Path, links: Path, directory: UnitDirectory, limit_bytes: int, retry: Told) -> None:
        self.store, self._links, self._directory = store, links, directory
        self._limit_bytes, self._retry = limit_bytes, retry
        self._pursuits: dict[str, _Pursuit] = {}
        self._named: dict[str, frozenset[str]] = {}  # units, and the hashes that they are about to be linked to
        self._turns = asyncio.Semaphore(AT_ONCE)

    def offer(self) -> None:
        """Have a link to the directory that keeps them beside those of the units, for who brings one here."""
        try:
            make_directory(self.store)
            make_directory(self._links)
            _point(self._links / STORE, self.store)
        except (UserError, OSError) as error:
            log.warning("no artifacts can be had: %s", error)

    # ---- what a unit needs

    async def fetch(self, unit: str, text: str) -> None:
        """Have everything here that the file of a unit names. Raises Refused."""
        wanted = self._read(unit, text)
        named = frozenset(each.sha256 for each in wanted)
        self._leave(unit, but=named)
        if named:
            self._named[unit] = named
        for artifact in wanted:
            if not self._has(artifact):
                await self._pursue(unit, artifact)

    def link(self, unit: str, text: str) -> None:
        """Have a link by its name to each of them, and no others. Raises Refused, OSError."""
        place, wanted = self._links / service_of(unit), {each.name: each for each in self._read(unit, text)}
        for path in entries_of(place):
            if path.name not in wanted:
                path.unlink()
        if not wanted:
            with suppress(FileNotFoundError):
                place.rmdir()
            return
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, artifact in wanted.items():
            _point(place / name, self._path(artifact.sha256))

    def linked(self, unit: str, text: str) -> bool:
        """Whether all of them are here, and linked."""
        place = self._links / service_of(unit)
        return all(
            self._has(each) and (place / each.name).resolve() == self._path(each.sha256).resolve()
            for each in self._read(unit, text)
        )

    def drop(self, unit: str) -> None:
        """Forget a unit that is gone from here."""
        self._leave(unit, but=frozenset())
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in entries_of(self._links / service_of(unit)):
                path.unlink()
            (self._links / service_of(unit)).rmdir()

    def _read(self, unit: str, text: str) -> tuple[Artifact, ...]:
        try:
            return artifacts_of(text, unit)
        except UserError as error:
            raise Refused(str(error)) from error

    def _path(self, sha256: str) -> Path:
        return self.store / sha256

    def _has(self, artifact: Artifact) -> bool:
        path = self._path(artifact.sha256)
        try:
            os.utime(path)  # it is in use
        except OSError:
            return path.is_file()
        return True

    # ---- one that is not there

    async def _pursue(self, unit: str, artifact: Artifact) -> None:
        """Wait for what comes of an attempt. Raises Refused when it failed."""
        pursuit = self._pursuits.get(artifact.sha256)
        if pursuit is None:
            pursuit = self._pursuits[artifact.sha256] = _Pursuit(artifact, {unit: None})
            pursuit.task = asyncio.create_task(self._run(pursuit), name=f"artifact {artifact.sha256[:7]}")
        elif unit in pursuit.told:  # it knows that, and only has to say it
            pursuit.told.discard(unit)
            raise Refused(pursuit.reason)
        else:
            if artifact.url:  # another file may name another place for it
                pursuit.artifact = artifact
            pursuit.wake.set()
        pursuit.units[unit] = None
        pursuit.asking.add(unit)
        pursuit.answered.clear()
        try:
            await pursuit.answered.wait()
        finally:
            pursuit.asking.discard(unit)
        if pursuit.reason:
            raise Refused(pursuit.reason)

    def _leave(self, unit: str, *, but: frozenset[str]) -> None:
        """A unit waits no longer for any but these."""
        if not but:
            self._named.pop(unit, None)
        for sha256, pursuit in self._pursuits.items():
            if sha256 not in but and unit in pursuit.units:
                del pursuit.units[unit]
                pursuit.told.discard(unit)
                if not pursuit.units:
                    pursuit.wake.set()  # to end

    async def _run(self, pursuit: _Pursuit) -> None:
        pause_s = PAUSE_S[0]
        try:
            while pursuit.units:
                pursuit.wake.clear()
                before, pursuit.reason = pursuit.reason, await self._attempts(pursuit)
                pursuit.answered.set()
                if pursuit.reason != before:
                    self._tell(pursuit)
                if not pursuit.reason:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s if pursuit.artifact.url else PUSHED_S):
                        await pursuit.wake.wait()
                pause_s = min(pause_s * 2, PAUSE_S[1])
        finally:
            del self._pursuits[pursuit.artifact.sha256]
            pursuit.answered.set()

    def _tell(self, pursuit: _Pursuit) -> None:
        """Have the units that know something else ask again."""
        for unit in [each for each in pursuit.units if each not in pursuit.asking]:
            if pursuit.reason:
                pursuit.told.add(unit)
            self._retry(unit)

    async def _attempts(self, pursuit: _Pursuit) -> str:
        """Try, a few times where that may help; "" once it is there, else why not."""
        artifact, reason = pursuit.artifact, ""
        for number in range(TRIES):
            if number:
                await asyncio.sleep(PAUSE_S[0] * number)
            try:
                if not self._has(artifact):
                    async with self._turns:
                        await in_thread(lambda: self._bring(artifact))
            except NotFetched as error:
                reason = str(error)
                if not error.passing or pursuit.reason:
                    return reason
            except UserError as error:
                return str(error)
            except Exception as error:  # noqa: BLE001 - one bad unit harms no other
                log.debug("unexpected", exc_info=True)
                return f"cannot have its artifact {artifact.name}: {type(error).__name__}: {error}"
            else:
                return ""
        return reason

    # ---- in a thread

    def _bring(self, artifact: Artifact) -> None:
        """Have the file in the store. Raises NotFetched, UserError."""
        if not artifact.url:
            raise NotFetched(
                f"its artifact {artifact.name} (sha256 {artifact.sha256[:12]}...) is not on this machine; bring it"
                " with fleetctl push",
                passing=False,
            )
        make_directory(self.store)
        part = self.store / f".{artifact.sha256}.part"
        try:
            resumed = download(artifact, part, lambda size: self._make_room(artifact, size))
            found = hash_of(part)
            if found != artifact.sha256 and resumed:  # what it went on with may have been another's
                part.unlink()
                download(artifact, part, lambda size: self._make_room(artifact, size))
                found = hash_of(part)
            if found != artifact.sha256:
                part.unlink()
                told = f"has the sha256 {found[:12]}..., and not {artifact.sha256[:12]}... as its file says"
                raise NotFetched(f"its artifact {artifact.name} from {artifact.host} {told}", passing=False)
            part.chmod(0o755)  # any user of the machine's may run it
            part.replace(self._path(artifact.sha256))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)
            why = error.strerror or str(error)
            raise NotFetched(f"cannot keep its artifact {artifact.name} in {self.store}: {why}") from error
        log.info("artifact %s of sha256 %s fetched from %s", artifact.name, artifact.sha256[:12], artifact.host)

    def _make_room(self, artifact: Artifact, size_bytes: int) -> None:
        """See to it that so much more may be kept. Raises NotFetched."""
        needed = {*list(self._pursuits), *self._installed()}.union(*list(self._named.values()))
        files = sorted(_files(self.store), key=lambda each: each[1])
        total = sum(size for _, _, size in files) + size_bytes
        now = time.time()
        for path, used_at, size in files:
            name = path.name.strip(".").partition(".")[0]
            full = shutil.disk_usage(self.store).free < size_bytes + SPARE_BYTES
            if name not in needed and (total > self._limit_bytes or full or now - used_at > OLD_S):
                path.unlink(missing_ok=True)
                total -= size
        name = f"its artifact {artifact.name} from {artifact.host}"
        if total > self._limit_bytes:
            most = f"{self._limit_bytes >> 20} MiB, which [agent] artifacts_mib sets"
            raise NotFetched(f"{name} has {size_bytes} bytes; all artifacts here may have {most}", passing=False)
        free = shutil.disk_usage(self.store).free
        if free < size_bytes + SPARE_BYTES:
            raise NotFetched(f"{name} has {size_bytes} bytes, and the disk of {self.store} has {free} left")

    def _installed(self) -> Iterator[str]:
        """The hashes that the unit files here name."""
        for unit in self._directory.units():
            text = self._directory.text(unit)
            if ARTIFACT in text:
                with suppress(UserError):
                    yield from (each.sha256 for each in artifacts_of(text, unit))


def _point(path: Path, target: Path) -> None:
    """Make a link, or another one of it, at once. Raises OSError."""
    partial = path.with_name(f".#{path.name[:200]}")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(path)


def _files(store: Path) -> Iterator[tuple[Path, float, int]]:
    """What the store keeps, whole or not: when it was used last, and its size in bytes."""
    for path in entries_of(store):
        with suppress(OSError):
            found = path.lstat()
            yield path, found.st_mtime, found.st_size


def hash_of(path: Path) -> str:
    """The sha256 of a file that is on the disk for good. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Redirects(HTTPRedirectHandler):
    """Follows a few, to http and https alone, and never from https to http."""

    max_redirections = REDIRECTS

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in SCHEMES or (req.type == "https" and scheme != "https"):
            fp.close()
            raise URLError(f"it leads to {scheme or 'no'}://, where nothing is fetched from")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(artifact: Artifact, part: Path, make_room: Callable[[int], None]) -> bool:
    """Go on with the file `part` until it is whole; whether that was begun before.

    `make_room` is told how many bytes are to come. Raises NotFetched, and OSError for the disk.
    """
    held = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "fleet-agentd", "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        _Redirects(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    where = f"cannot fetch its artifact {artifact.name} from {artifact.host}"
    deadline = time.monotonic() + LONGEST_S
    try:
        with opener.open(Request(artifact.url, headers=headers), timeout=SILENCE_S) as answer:  # noqa: S310 - http(s)
            resumed: bool = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
                f"bytes {held}-"
            )
            length = answer.headers.get("Content-Length", "")
            to_come = int(length) if length.isdigit() else None
            make_room(to_come or 0)
            got = _write(answer, part, deadline, make_room, append=resumed)
            if to_come is not None and got < to_come:
                raise NotFetched(f"{where}: it ended after {got} of {to_come} bytes")
            return resumed
    except HTTPError as error:
        error.close()
        if error.code == 416 and held:  # what is here is as long as the file, or longer: it is another's, or whole
            if hash_of(part) == artifact.sha256:
                return True
            part.unlink()
            return download(artifact, part, make_room)
        told = f"more than {REDIRECTS} redirects" if 300 <= error.code < 400 else f"status {error.code}"
        raise NotFetched(f"{where}: {told}", passing=error.code >= 500 or error.code == 429) from error
    except TimeoutError as error:
        raise NotFetched(f"{where}: no answer in {SILENCE_S:g}s") from error
    except (URLError, http.client.HTTPException, ssl.SSLError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            raise NotFetched(f"{where}: no answer in {SILENCE_S:g}s") from error
        why = (getattr(reason, "verify_message", "") or getattr(reason, "strerror", "") or str(reason))[:200]
        raise NotFetched(f"{where}: {' '.join(str(why).split()) or type(reason).__name__}") from error


def _write(
    answer: http.client.HTTPResponse, part: Path, deadline: float, make_room: Callable[[int], None], *, append: bool
) -> int:
    """Write what comes; returns how many bytes. Where no length was told, room is made as it comes."""
    got, asked = 0, 64 * CHUNK_BYTES
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if append else os.O_TRUNC)
    with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
        while data := answer.read1(CHUNK_BYTES):
            file.write(data)
            got += len(data)
            if got >= asked and "Content-Length" not in answer.headers:
                make_room(0)
                asked = got + 64 * CHUNK_BYTES
            if time.monotonic() > deadline:
                raise TimeoutError
    return got


def in_thread(work: Callable[[], None]) -> Awaitable[None]:
    """Do what may take an hour beside the loop; a program that ends does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if not done.cancelled():
            done.set_exception(error) if error else done.set_result(None)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as caught:  # noqa: BLE001 - it is raised in the loop
            error = caught
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=run, name="artifact", daemon=True).start()
    return done
