"""One HTTP exchange with one etcd member, through etcd3-py: the only module that knows etcd3 and aiohttp.

Owns the session, the TLS context and the translation of every foreign error into `Refusal` (etcd answered an
error) or `Unreachable` (nobody did). It chooses no endpoint, repeats nothing and knows no users.

Of etcd3-py it keeps the transport (`call_rpc(raw=True)`: URLs, token and headers); the models and the version
probe are left aside, because they block or cost fifty times the exchange itself.
"""

from __future__ import annotations

import io
import json
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from weakref import WeakSet

import registry.etcd_library  # noqa: F401 - first: it imports the next ones without what they bring along

# isort: split
import aiohttp
import semantic_version
from etcd3.aio_client import AioClient
from etcd3.baseclient import BaseClient

from registry.errors import UserError
from registry.etcd_endpoint import EtcdSettings, base_urls
from registry.etcd_wire import Json, Unreachable, decode_refusal, parse_json

CONNECT_TIMEOUT_S = 1.5
LARGE_BYTES = 512 * 1024
CLOSED = "closed the connection"
_GATEWAY = semantic_version.Version("3.4.0")  # the first with the path prefix /v3, which all later ones keep


class Transport(AioClient):  # type: ignore[misc]  # etcd3-py has no types
    """etcd3-py's client with its own session, aimed anew at each call. Make it inside a running loop."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._base = ""
        BaseClient.__init__(self)
        self._timeout_s = settings.request_timeout_s
        connector = _connector(settings)
        self.session = aiohttp.ClientSession(connector=connector)
        self._streams: WeakSet[Stream] = WeakSet()

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
        headers = {"Content-Type": "application/json"}
        if leader:
            headers["Grpc-Metadata-hasleader"] = "true"  # a member without quorum says so instead of hanging
        sending: AbstractAsyncContextManager[aiohttp.ClientResponse] = self.call_rpc(
            path, data=_body(request), raw=True, timeout=timeout, headers=headers
        )
        return sending

    async def call(
        self, base: str, path: str, request: Json, *, token: str = "", leader: bool = True, bulk: bool = False
    ) -> Json:
        """One exchange within the request time-out. Raises Refusal or Unreachable.

        A `bulk` answer is bounded by silence rather than as a whole, which a slow link may need. `leader` asks
        the member to refuse while it has no quorum, rather than to hang.
        """
        timeout = self._timeout(total_s=(8 if bulk else 1) * self._timeout_s)
        sending = self._send(base, path, request, token=token, timeout=timeout, leader=leader)
        with foreign_errors():
            async with sending as response:
                return _understand(response.status, await response.read())

    def _timeout(self, total_s: float | None) -> aiohttp.ClientTimeout:
        connect_s = min(CONNECT_TIMEOUT_S, self._timeout_s)
        silence_s = None if total_s is None else self._timeout_s
        return aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s, sock_read=silence_s)

    async def open_stream(self, base: str, path: str, request: Json, *, token: str = "") -> Stream:
        """Start a call whose answer never ends. Raises Refusal or Unreachable."""
        timeout = self._timeout(total_s=None)
        with foreign_errors():
            sending = self._send(base, path, request, token=token, timeout=timeout, leader=True)
            response: aiohttp.ClientResponse = await sending.__aenter__()  # the stream closes it
            if response.status == 200:
                stream = Stream(response)
                self._streams.add(stream)
                return stream
            async with response:
                _understand(response.status, await response.read())
        raise Unreachable(f"answered HTTP {response.status} to a watch")

    async def close(self) -> None:
        """End every connection and wake whoever reads from one."""
        for stream in list(self._streams):
            stream.abort()
        await self.session.close()


def _connector(settings: EtcdSettings) -> aiohttp.TCPConnector:
    """Connections by this host's network or by the settings' own means; the link bounds the calls."""
    tls, dial = _tls(settings), settings.dial
    if dial is None:
        return aiohttp.TCPConnector(limit=0, ssl=tls)

    def dialled(found: tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]) -> socket.socket:
        host, port = found[4][:2]
        return _Dialled(fileno=dial(host, port).detach())

    return aiohttp.TCPConnector(limit=0, ssl=tls, resolver=_FarResolver(), socket_factory=dialled)


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


class Stream:
    """The unending answer of a watch, as it comes in. `close` ends it at both sides."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        _notice_dead_peer(response)

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


def _body(request: Json) -> str | io.BytesIO:
    """The request as JSON; a large one is read piecewise, so that sending it does not hold up the loop."""
    text = json.dumps(request)
    return io.BytesIO(text.encode()) if len(text) > LARGE_BYTES else text


def _notice_dead_peer(response: aiohttp.ClientResponse) -> None:
    """Let the kernel find a peer that vanished without a word: about 5 s, at no cost to either program."""
    transport = response.connection.transport if response.connection else None
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for option, value in ((socket.TCP_KEEPIDLE, 3), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _tls(settings: EtcdSettings) -> ssl.SSLContext | bool:
    """A context that checks certificate and host name; etcd3-py's own does not. Nothing is made without TLS."""
    if not (
        settings.ca_file or settings.cert_file or any(base.startswith("https:") for base in base_urls(settings))
    ):
        return True
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot use etcd.ca_file {settings.ca_file}: {_plain(error)}") from None
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot use etcd.cert_file {settings.cert_file}: {_plain(error)}") from None
    return context


def _understand(status: int, body: bytes) -> Json:
    answer = parse_json(body)
    if answer is not None and status == 200 and "error" not in answer:
        return answer
    if answer is not None and ("error" in answer or "code" in answer):
        raise decode_refusal(answer)
    if b"HTTP request to an HTTPS server" in body:
        raise Unreachable("speaks TLS: write the endpoint with https://", sent=False)
    refused = 400 <= status < 500
    raise Unreachable(f"answered HTTP {status} and no JSON: not an etcd of version 3.4 or later", sent=not refused)


@contextmanager
def foreign_errors() -> Iterator[None]:
    """The one place where errors of aiohttp, ssl and the socket become ours."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unreachable(_certificate(error.certificate_error, error.host), sent=False) from None
    except aiohttp.ClientConnectorSSLError as error:
        raise Unreachable(_handshake(error), sent=False) from None
    except aiohttp.ClientConnectorDNSError as error:
        raise Unreachable(f"host name {error.host} is unknown", sent=False) from None
    except aiohttp.ClientConnectorError as error:
        closed = isinstance(error.os_error, ConnectionResetError)
        raise Unreachable(CLOSED if closed else _plain(error.os_error), sent=False, closed=closed) from None
    except aiohttp.ConnectionTimeoutError:
        raise Unreachable("timed out while connecting", sent=False) from None
    except TimeoutError:
        raise Unreachable("timed out") from None
    except (aiohttp.ServerDisconnectedError, ConnectionError):
        raise Unreachable(CLOSED, closed=True) from None
    except aiohttp.ClientPayloadError:
        raise Unreachable("broke off its answer") from None
    except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
        raise Unreachable(_alert(error) or _plain(error)) from None


def _certificate(error: Exception, host: str) -> str:
    reason = getattr(error, "verify_message", "") or _plain(error)
    return f"TLS certificate is not valid for host {host}: {reason}"


def _handshake(error: aiohttp.ClientConnectorSSLError) -> str:
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
        return "does not speak TLS: write the endpoint with http://"
    return _alert(error) or f"TLS handshake failed: {_plain(error.os_error)}"


def _alert(error: BaseException) -> str:
    text = str(error).lower().replace("_", " ")
    if "certificate required" in text or "bad certificate" in text:
        return "wants a valid client certificate: set etcd.cert_file and etcd.key_file"
    return ""


def _plain(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    system = os.strerror(number) if number and not isinstance(error, ssl.SSLError) else ""
    text = system or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
