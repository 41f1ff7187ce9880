"""One HTTP exchange with one etcd member, through etcd3-py: the only module that knows etcd3 and aiohttp.

Owns the session and the translation of every foreign error into `EtcdError` (etcd answered an error) or
`EtcdUnreachable` (nobody did). It chooses no endpoint, repeats nothing and knows no users.

Of etcd3-py it keeps the transport (`call_rpc(raw=True)`: URLs, token and headers); the models and the version
probe are left aside, because they block or cost fifty times the exchange itself.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from weakref import WeakSet

import registry.etcd.library  # noqa: F401 - first: it imports the next ones without what they bring along

# isort: split
import aiohttp
import semantic_version
from etcd3.aio_client import AioClient
from etcd3.baseclient import BaseClient

from registry.etcd.connections import (
    CLOSED,
    CONNECT_TIMEOUT_S,
    MOST_BYTES,
    NO_HTTP,
    NO_TLS,
    TOO_LARGE,
    keep_alive,
    plain,
)
from registry.etcd.endpoint import EtcdSettings, parts_of
from registry.etcd.failures import judge
from registry.etcd.tls import TlsFiles, alert, not_trusted
from registry.etcd.wire import EtcdUnreachable, Glimpse, Json, TooLarge, parse_json

LARGE_BYTES = 512 * 1024
_GATEWAY = semantic_version.Version("3.4.0")  # the first with the path prefix /v3, which all later ones keep


class Transport(AioClient):  # type: ignore[misc]  # etcd3-py has no types
    """etcd3-py's client with its own session, aimed at an endpoint at each call. Make it inside a running loop."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._base = ""
        BaseClient.__init__(self)
        self._timeout_s = settings.request_timeout_s
        self._tls = TlsFiles(settings)
        self._cert_file = settings.cert_file
        self._dial = settings.dial
        self._tls.context()  # an unusable file is told at the first call, whatever that call is
        connector = _connector(settings)
        self.session = aiohttp.ClientSession(connector=connector)
        self._streams: WeakSet[WatchStream] = WeakSet()

    def _retrieve_version(self) -> None:
        """Say what we speak instead of asking: etcd3-py's probe blocks the loop and fails on a slow server."""
        self.server_version_sem = self.cluster_version_sem = _GATEWAY

    @property
    def baseurl(self) -> str:
        """The member that the call being built goes to."""
        return self._base

    def _send(
        self, base: str, path: str, request: Json, *, token: str, timeout: aiohttp.ClientTimeout, leader: bool
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        self._base, self.token = base, token  # read by call_rpc before it returns: no other task comes between
        headers, text = {"Content-Type": "application/json"}, json.dumps(request)
        if leader:
            headers["Grpc-Metadata-hasleader"] = "true"  # a member without quorum says so instead of hanging
        sending: AbstractAsyncContextManager[aiohttp.ClientResponse] = self.call_rpc(
            path,
            data=io.BytesIO(text.encode()) if len(text) > LARGE_BYTES else text,  # read piecewise: the loop goes on
            raw=True,
            timeout=timeout,
            headers=headers,
            ssl=self._tls.context(),  # connections are shared by those that were made with the same context
            allow_redirects=False,  # where it leads is not where we were told to take token and password
        )
        return sending

    async def call(
        self, base: str, path: str, request: Json, *, token: str = "", leader: bool = True, bulk: bool = False
    ) -> Json:
        """One exchange within the request time-out. Raises EtcdError or EtcdUnreachable.

        A `bulk` answer is bounded by silence rather than as a whole, which a slow link may need. `leader` asks
        the member to refuse while it has no quorum, rather than to hang.
        """
        timeout = self._timeout(total_s=(8 if bulk else 1) * self._timeout_s)
        with foreign_errors(self._cert_file):
            sending = self._send(base, path, request, token=token, timeout=timeout, leader=leader)
            async with sending as response:
                return _understand(response, await _read(response))

    async def glimpse(self, base: str, path: str) -> tuple[Json, Glimpse]:
        """One exchange as nobody, without a leader, and what else it shows. Raises EtcdError or EtcdUnreachable."""
        with foreign_errors(self._cert_file):
            timeout, sent_at = self._timeout(total_s=self._timeout_s), time.time()
            async with self._send(base, path, {}, token="", timeout=timeout, leader=False) as response:
                answer = _understand(response, await _read(response))
            asked_at = (sent_at + time.time()) / 2
            return answer, Glimpse(response.headers.get("Date", ""), asked_at, await self._certificate_end(base))

    async def _certificate_end(self, base: str) -> float:
        """When the certificate that an endpoint shows runs out, in seconds since 1970; 0 without TLS."""
        (scheme, host, port), context = parts_of(base), self._tls.context()
        if scheme != "https" or not isinstance(context, ssl.SSLContext):
            return 0.0
        sock = self._dial(host, port) if self._dial else None
        way = {"sock": sock} if sock else {"host": host, "port": port}
        async with asyncio.timeout(self._timeout_s):
            _, writer = await asyncio.open_connection(**way, ssl=context, server_hostname=host)
        found = writer.get_extra_info("peercert")
        writer.close()
        return float(ssl.cert_time_to_seconds(found["notAfter"])) if found else 0.0

    def _timeout(self, total_s: float | None) -> aiohttp.ClientTimeout:
        connect_s = min(CONNECT_TIMEOUT_S, self._timeout_s)
        silence_s = None if total_s is None else self._timeout_s
        return aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s, sock_read=silence_s)

    async def open_stream(self, base: str, path: str, request: Json, *, token: str = "") -> WatchStream:
        """Start a call whose answer never ends. Raises EtcdError or EtcdUnreachable."""
        timeout = self._timeout(total_s=None)
        with foreign_errors(self._cert_file):
            sending = self._send(base, path, request, token=token, timeout=timeout, leader=True)
            response: aiohttp.ClientResponse = await sending.__aenter__()  # the stream closes it
            if response.status == 200:
                stream = WatchStream(response)
                self._streams.add(stream)
                return stream
            async with response:
                _understand(response, await _read(response))
        raise EtcdUnreachable(f"answered HTTP {response.status} to a watch")

    async def close(self) -> None:
        """End every connection and wake those who read from one."""
        for stream in list(self._streams):
            stream.abort()
        await self.session.close()


def _connector(settings: EtcdSettings) -> aiohttp.TCPConnector:
    """Connections by this host's network or by the settings' own means; the link bounds the calls."""
    dial = settings.dial
    if dial is None:
        return aiohttp.TCPConnector(limit=0)

    def dialled(found: tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]) -> socket.socket:
        host, port = found[4][:2]
        return _Dialled(fileno=dial(host, port).detach())

    return aiohttp.TCPConnector(limit=0, resolver=_FarResolver(), socket_factory=dialled)


class _Dialled(socket.socket):
    """A socket that is connected when the client gets it."""

    def connect(self, _address: object, /) -> None:
        """Do nothing."""


class _FarResolver(aiohttp.abc.AbstractResolver):
    """Leaves names as they are: they mean something at the far end alone."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """The name itself."""
        name = aiohttp.abc.ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)
        return [name]

    async def close(self) -> None:
        """Nothing is held."""


class WatchStream:
    """The unending answer of a watch, as it comes in. `close` ends it at both sides."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        transport = response.connection.transport if response.connection else None
        sock = transport.get_extra_info("socket") if transport else None
        if sock is not None:
            keep_alive(sock)

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Cancelling it loses nothing. Raises Unreachable."""
        with foreign_errors():
            return await self._response.content.readany()

    def abort(self) -> None:
        """Let the reader fail now: closing a connection on this side does not wake it."""
        self._response.content.set_exception(aiohttp.ClientPayloadError())

    def close(self) -> None:
        """End the watch; may be called twice."""
        self._response.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body, as long as it may be one of etcd's."""
    pieces: list[bytes] = []
    size = 0
    while piece := await response.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise TooLarge(TOO_LARGE)
    return b"".join(pieces)


def _understand(response: aiohttp.ClientResponse, body: bytes) -> Json:
    answer = parse_json(body)
    if answer is not None and response.status == 200 and "error" not in answer:
        return answer
    raise judge(response.status, body, answer, response.headers.get("Location", ""))


@contextmanager
def foreign_errors(cert_file: str | None = None) -> Iterator[None]:
    """The one place where errors of aiohttp, ssl and the socket become ours."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise EtcdUnreachable(not_trusted(error.certificate_error, error.host), sent=False) from None
    except aiohttp.ClientConnectorSSLError as error:
        if any(words in str(error) for words in ("WRONG_VERSION_NUMBER", "RECORD_LAYER")):
            reason = NO_TLS
        else:
            reason = alert(error, cert_file) or f"TLS handshake failed: {plain(error.os_error)}"
        raise EtcdUnreachable(reason, sent=False) from None
    except aiohttp.ClientConnectorDNSError as error:
        raise EtcdUnreachable(f"host name {error.host} is unknown", sent=False) from None
    except aiohttp.ClientConnectorError as error:
        closed = isinstance(error.os_error, ConnectionResetError)
        raise EtcdUnreachable(CLOSED if closed else plain(error.os_error), sent=False, closed=closed) from None
    except aiohttp.ConnectionTimeoutError:
        raise EtcdUnreachable("timed out while connecting", sent=False) from None
    except TimeoutError:
        raise EtcdUnreachable("timed out", silent=True) from None
    except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
        raise _broken(error, cert_file) from None


def _broken(error: Exception, cert_file: str | None) -> EtcdUnreachable:
    said = alert(error, cert_file)
    reset = getattr(error, "errno", None) in (errno.ECONNRESET, errno.EPIPE)
    if not said and (reset or isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionError))):
        return EtcdUnreachable(CLOSED, closed=True)
    if said:
        return EtcdUnreachable(said)
    if isinstance(error, aiohttp.ClientPayloadError):
        return EtcdUnreachable("broke off its answer")
    if isinstance(error, aiohttp.ClientResponseError):
        return EtcdUnreachable(NO_HTTP)
    return EtcdUnreachable(plain(error))
