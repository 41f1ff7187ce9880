"""One HTTP exchange with one etcd member by the standard library's `http.client`, for commands that run alone.

It stands in the place of `registry.etcd.transport`, with the same errors, where no event loop runs: a command that
asks etcd five times needs neither asyncio nor aiohttp, whose imports take ten times as long as its work. While an
answer is awaited other tasks go on; it is read as a whole then. docs/adr/0043-commands-alone.md says what was
measured, docs/adr/0048-following-alone.md how it follows.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

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
from registry.etcd.endpoint import EtcdSettings, base_urls, parts_of
from registry.etcd.failures import judge
from registry.etcd.wire import EtcdUnreachable, Glimpse, Json, TooLarge, parse_json
from registry.runtime import waits

if TYPE_CHECKING:
    from registry.etcd.tls import TlsFiles

PIECE = 1 << 18


class _Headers(dict[str, str]):
    """The headers of an answer, by name in any case; of one that comes twice the first."""

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as a dict's
        """The value of a header."""
        return super().get(name.lower(), default)


class _HeaderParser:
    """As much of `email.parser.Parser` as http.client uses."""

    def __init__(self, _class: type[_Headers]) -> None:
        self._class = _class

    def parsestr(self, text: str) -> _Headers:
        """The headers in the head of an answer."""
        found = self._class()
        for line in text.splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip().lower(), value.strip())
        return found


def _http() -> Any:  # noqa: ANN401 - a module
    """An `http.client` of our own without ssl, the parser of mail and that of URLs, which cost more than it does.

    What speaks TLS is made by `tls`; all that is asked for is a path. Whoever else imports http.client gets the
    whole one.
    """
    mail, parser, message = (ModuleType(f"email{part}") for part in ("", ".parser", ".message"))
    urls, url = ModuleType("urllib"), ModuleType("urllib.parse")
    vars(url).update(urlsplit=None)
    vars(mail).update(parser=parser, message=message)
    vars(parser).update(Parser=_HeaderParser)
    vars(message).update(Message=_Headers)
    instead: dict[str, Any] = {"email": mail, "email.parser": parser, "email.message": message, "ssl": None}
    instead |= {"urllib": urls, "urllib.parse": url}
    before = {name: sys.modules.pop(name) for name in ("http.client", *instead) if name in sys.modules}
    sys.modules |= instead  # None: `import ssl` fails, which http.client allows for
    try:
        import http.client  # noqa: PLC0415 - see above

        return sys.modules.pop("http.client")
    finally:
        for name in instead:
            del sys.modules[name]
        sys.modules |= before
        if "http.client" in before:
            vars(http)["client"] = before["http.client"]


http_client = _http()


class _Unchunked(http_client.HTTPConnection):  # type: ignore[misc,name-defined]  # imported by hand
    """HTTP/1.0, whose answers come without chunks: what can be read is what has come, to the end of the line."""

    _http_vsn, _http_vsn_str = 10, "HTTP/1.0"


class BlockingTransport:
    """Connections to the members of one etcd cluster, kept open from call to call, and one for each stream."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._timeout_s = settings.request_timeout_s
        self._tls: TlsFiles | None = None
        if settings.wants_tls or any(base.startswith("https:") for base in base_urls(settings)):
            from registry.etcd.tls import TlsFiles  # noqa: PLC0415 - loads ssl

            self._tls = TlsFiles(settings)
            self._tls.context()  # an unusable file is told at the first call, whatever that call is
        self._idle: dict[str, list[Any]] = {}
        self._closed = False
        self._streams: list[BlockingStream] = []

    async def call(
        self, base: str, path: str, request: Json, *, token: str = "", leader: bool = True, bulk: bool = False
    ) -> Json:
        """One exchange within the request time-out. Raises EtcdError or EtcdUnreachable.

        A `bulk` answer is bounded by silence rather than as a whole, which a slow link may need. `leader` asks
        the member to refuse while it has no quorum, rather than to hang.
        """
        response, body, _ = await self._exchange(base, path, request, token=token, leader=leader, bulk=bulk)
        return _understand(response, body)

    async def glimpse(self, base: str, path: str) -> tuple[Json, Glimpse]:
        """One exchange as nobody, without a leader, and what else it shows. Raises EtcdError or EtcdUnreachable."""
        sent_at = time.time()
        response, body, sock = await self._exchange(base, path, {}, token="", leader=False, bulk=False)
        asked_at = (sent_at + time.time()) / 2
        answer = _understand(response, body)
        certificate = sock.getpeercert() if self._tls and hasattr(sock, "getpeercert") else None
        end = 0.0
        if certificate:
            import ssl  # noqa: PLC0415 - is loaded already

            end = float(ssl.cert_time_to_seconds(certificate["notAfter"]))
        return answer, Glimpse(response.headers.get("Date", ""), asked_at, end)

    async def open_stream(self, base: str, path: str, request: Json, *, token: str = "") -> BlockingStream:
        """Start a call whose answer never ends. Raises EtcdError or EtcdUnreachable."""
        until = time.monotonic() + min(self._timeout_s, waits.seconds_left())
        with self._errors():
            connection = await self._connect(base, _Unchunked)
            try:
                sock = connection.sock
                response = await self._ask(connection, path, request, token=token, leader=True, until=until)
                if response.status == 200:
                    self._streams.append(stream := BlockingStream(sock, response, self._errors))
                    return stream
                body = _read(connection, response, until, self._timeout_s)
            finally:
                connection.close()  # the stream holds the socket until it is closed
        _understand(response, body)
        raise EtcdUnreachable(f"answered HTTP {response.status} to a watch")

    async def close(self) -> None:
        """End every connection and wake those who read from one."""
        self._closed = True
        for stream in self._streams:
            stream.abort()
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _exchange(
        self, base: str, path: str, request: Json, *, token: str, leader: bool, bulk: bool
    ) -> tuple[Any, bytes, Any]:
        """A response, its body, and the socket that they came by."""
        allowed_s = min((8 if bulk else 1) * self._timeout_s, waits.seconds_left())
        until = time.monotonic() + allowed_s
        idle = self._idle.setdefault(base, [])
        with self._errors():
            connection = idle.pop() if idle else await self._connect(base, http_client.HTTPConnection)
            sock = connection.sock
            try:
                response = await self._ask(connection, path, request, token=token, leader=leader, until=until)
                body = _read(connection, response, until, self._timeout_s)
            except BaseException:
                connection.close()
                raise
        if response.will_close or self._closed:
            connection.close()
        else:
            idle.append(connection)
        return response, body, sock

    async def _ask(
        self,
        connection: Any,  # noqa: ANN401 - http.client is imported by hand
        path: str,
        request: Json,
        *,
        token: str,
        leader: bool,
        until: float,
    ) -> Any:  # noqa: ANN401 - http.client is imported by hand
        """The head of the answer, once it has come."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = token
        if leader:
            headers["Grpc-Metadata-hasleader"] = "true"  # a member without quorum says so instead of hanging
        _bound(connection, until, self._timeout_s)
        connection.request("POST", f"/v3{path}", json.dumps(request).encode(), headers)
        await waits.readable(connection.sock.fileno(), min(until - time.monotonic(), self._timeout_s))
        _bound(connection, until, self._timeout_s)
        return connection.getresponse()

    async def _connect(self, base: str, kind: Any) -> Any:  # noqa: ANN401 - http.client is imported by hand
        """A connection that is open and, where the endpoint says so, encrypted."""
        scheme, host, port = parts_of(base)
        context = self._tls.context() if self._tls and scheme == "https" else None
        until = time.monotonic() + max(0.001, min(CONNECT_TIMEOUT_S, self._timeout_s, waits.seconds_left()))
        connection = kind(host, port)
        with self._connecting(host):
            dial = self._settings.dial
            sock = dial(host, port) if dial else await _dialled(host, port, until)
            try:
                if context is not None and not isinstance(context, bool):
                    sock = await _encrypted(context, sock, host, until)
            except BaseException:
                sock.close()
                raise
        connection.sock = sock
        return connection

    @contextmanager
    def _connecting(self, host: str) -> Iterator[None]:
        """Errors of a connection that never came about: nothing was sent."""
        try:
            yield
        except socket.gaierror as error:
            reason = plain(error) if ":" in host else f"host name {host} is unknown"  # an address has no name
            raise EtcdUnreachable(reason, sent=False) from None
        except TimeoutError:
            raise EtcdUnreachable("timed out while connecting", sent=False) from None
        except OSError as error:
            closed = isinstance(error, ConnectionResetError) or type(error).__name__ == "SSLEOFError"
            if not closed and self._tls is not None and type(error).__module__ == "ssl":
                raise EtcdUnreachable(self._handshake(error, host), sent=False) from None
            raise EtcdUnreachable(CLOSED if closed else plain(error), sent=False, closed=closed) from None

    def _handshake(self, error: OSError, host: str) -> str:
        from registry.etcd.tls import alert, not_trusted  # noqa: PLC0415 - loads ssl

        if type(error).__name__ in ("SSLCertVerificationError", "CertificateError"):
            return not_trusted(error, host)
        if any(words in str(error) for words in ("WRONG_VERSION_NUMBER", "RECORD_LAYER")):
            return NO_TLS
        return alert(error, self._settings.cert_file) or f"TLS handshake failed: {plain(error)}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The one place where errors of http.client, ssl and the socket become ours."""
        try:
            yield
        except TimeoutError:
            raise EtcdUnreachable("timed out", silent=True) from None
        except (http_client.HTTPException, OSError, ValueError) as error:
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> EtcdUnreachable:
        if self._tls is not None and type(error).__module__ == "ssl":
            from registry.etcd.tls import alert  # noqa: PLC0415 - loads ssl

            if said := alert(error, self._settings.cert_file):
                return EtcdUnreachable(said)
            closed = type(error).__name__ in ("SSLEOFError", "SSLZeroReturnError")
            return EtcdUnreachable(CLOSED if closed else plain(error), closed=closed)
        reset = isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)
        if reset or isinstance(error, http_client.RemoteDisconnected):
            return EtcdUnreachable(CLOSED, closed=True)
        if isinstance(error, http_client.IncompleteRead):
            return EtcdUnreachable("broke off its answer")
        if isinstance(error, http_client.HTTPException):
            return EtcdUnreachable(NO_HTTP)
        return EtcdUnreachable(plain(error))


class BlockingStream:
    """The unending answer of a watch, as it comes in. `close` ends it at both sides."""

    def __init__(self, sock: Any, response: Any, errors: Callable[[], Any]) -> None:  # noqa: ANN401 - see above
        self._sock, self._response, self._errors = sock, response, errors
        sock.settimeout(0)
        keep_alive(sock)

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Cancelling it loses nothing. Raises EtcdUnreachable."""
        came = False
        with self._errors():
            while True:
                try:
                    piece: bytes = self._response.fp.read1(PIECE)
                except OSError as error:
                    if type(error).__name__ != "SSLWantReadError":
                        raise
                    piece, came = b"", False
                if piece or came:  # there is nothing in what can be read: the end
                    return piece
                await waits.readable(self._sock.fileno())
                came = True

    def abort(self) -> None:
        """Let the reader find the end now."""
        with suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """End the watch; may be called twice."""
        self._response.close()


async def _dialled(host: str, port: int, until: float) -> socket.socket:
    """A connection to the first of a host's addresses that takes one. OSError of the last one, TimeoutError."""
    refusal = OSError(errno.EADDRNOTAVAIL, "the host has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(_name(host), port, 0, socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0)
            if sock.connect_ex(address) == errno.EINPROGRESS:
                await waits.readable(sock.fileno(), until - time.monotonic(), or_writable=True)
            if failed := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(failed, os.strerror(failed))
            sock.getpeername()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            if isinstance(error, TimeoutError):
                raise
            refusal = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refusal


async def _encrypted(context: Any, sock: Any, host: str, until: float) -> Any:  # noqa: ANN401 - ssl's
    """The socket once both sides have agreed on keys."""
    sock.settimeout(0)
    found = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    while True:
        try:
            found.do_handshake()
        except OSError as error:
            name = type(error).__name__
            if name not in ("SSLWantReadError", "SSLWantWriteError"):
                found.close()
                raise
            writing = name == "SSLWantWriteError"
            await waits.readable(found.fileno(), until - time.monotonic(), or_writable=writing)
        else:
            return found


def _name(host: str) -> Any:  # noqa: ANN401 - what getaddrinfo takes
    """A host for getaddrinfo, which loads a codec for names that are text; those of ASCII need none."""
    return host.encode("ascii") if host.isascii() else host


def _bound(connection: Any, until: float, silence_s: float) -> None:  # noqa: ANN401 - see above
    """Let the next read or write take no longer than what is left, nor be silent for longer than that."""
    left_s = min(until - time.monotonic(), silence_s)
    if left_s <= 0:
        raise TimeoutError
    connection.sock.settimeout(left_s)


def _read(connection: Any, response: Any, until: float, silence_s: float) -> bytes:  # noqa: ANN401 - see above
    """The whole body, as long as it may be one of etcd's."""
    pieces: list[bytes] = []
    size = 0
    while True:
        if connection.sock is not None:  # the response has taken it over where the member closes
            _bound(connection, until, silence_s)
        piece = response.read(PIECE)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise TooLarge(TOO_LARGE)
    if response.length:
        raise EtcdUnreachable("broke off its answer")
    return b"".join(pieces)


def _understand(response: Any, body: bytes) -> Json:  # noqa: ANN401 - see above
    answer = parse_json(body)
    if answer is not None and response.status == 200 and "error" not in answer:
        return answer
    raise judge(response.status, body, answer, response.headers.get("Location", ""))
