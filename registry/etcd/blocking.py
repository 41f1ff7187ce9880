"""One HTTP exchange with one etcd member by the standard library's `http.client`, for commands that run alone.

It stands in the place of `registry.etcd.transport`, with the same errors, where no event loop runs: a command that
asks etcd five times needs neither asyncio nor aiohttp, whose imports take ten times as long as its work. It opens
no streams. docs/adr/0043-commands-alone.md says what was measured.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from registry.etcd.connections import CLOSED, CONNECT_TIMEOUT_S, MOST_BYTES, NO_HTTP, NO_TLS, TOO_LARGE, plain
from registry.etcd.endpoint import EtcdSettings, base_urls
from registry.etcd.failures import judge
from registry.etcd.wire import EtcdUnreachable, Glimpse, Json, TooLarge, parse_json
from registry.runtime import waits

if TYPE_CHECKING:
    from registry.etcd.tls import TlsFiles

PIECE = 1 << 18


def _http() -> Any:  # noqa: ANN401 - a module
    """`http.client`, without ssl where nobody has imported that: what speaks TLS here is made by `tls`."""
    if "http.client" not in sys.modules and "ssl" not in sys.modules:
        sys.modules["ssl"] = None  # type: ignore[assignment]  # `import ssl` fails, which http.client allows for
        try:
            import http.client  # noqa: PLC0415 - see above
        finally:
            del sys.modules["ssl"]
    import http.client  # noqa: PLC0415 - see above

    return http.client


http_client = _http()


class BlockingTransport:
    """Connections to the members of one etcd cluster, one each, kept open from call to call."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._timeout_s = settings.request_timeout_s
        self._tls: TlsFiles | None = None
        if settings.wants_tls or any(base.startswith("https:") for base in base_urls(settings)):
            from registry.etcd.tls import TlsFiles  # noqa: PLC0415 - loads ssl

            self._tls = TlsFiles(settings)
            self._tls.context()  # an unusable file is told at the first call, whatever that call is
        self._open: dict[str, Any] = {}

    async def call(
        self, base: str, path: str, request: Json, *, token: str = "", leader: bool = True, bulk: bool = False
    ) -> Json:
        """One exchange within the request time-out. Raises EtcdError or EtcdUnreachable.

        A `bulk` answer is bounded by silence rather than as a whole, which a slow link may need. `leader` asks
        the member to refuse while it has no quorum, rather than to hang.
        """
        response, body = self._exchange(base, path, request, token=token, leader=leader, bulk=bulk)
        return _understand(response, body)

    async def glimpse(self, base: str, path: str) -> tuple[Json, Glimpse]:
        """One exchange as nobody, without a leader, and what else it shows. Raises EtcdError or EtcdUnreachable."""
        sent_at = time.time()
        response, body = self._exchange(base, path, {}, token="", leader=False, bulk=False)
        asked_at = (sent_at + time.time()) / 2
        answer = _understand(response, body)
        found: Any = self._open[base].sock if base in self._open else None
        certificate = found.getpeercert() if self._tls and hasattr(found, "getpeercert") else None
        end = 0.0
        if certificate:
            import ssl  # noqa: PLC0415 - is loaded already

            end = float(ssl.cert_time_to_seconds(certificate["notAfter"]))
        return answer, Glimpse(response.headers.get("Date", ""), asked_at, end)

    async def open_stream(self, _base: str, path: str, *_: object, **__: object) -> NoReturn:
        """Streams need an event loop."""
        raise RuntimeError(f"{path} is followed where an event loop runs")

    async def close(self) -> None:
        """End every connection."""
        for base in list(self._open):
            self._drop(base)

    def _exchange(
        self, base: str, path: str, request: Json, *, token: str, leader: bool, bulk: bool
    ) -> tuple[Any, bytes]:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = token
        if leader:
            headers["Grpc-Metadata-hasleader"] = "true"  # a member without quorum says so instead of hanging
        data = json.dumps(request).encode()
        allowed_s = min((8 if bulk else 1) * self._timeout_s, waits.seconds_left())
        until = time.monotonic() + allowed_s
        with self._errors(base):
            connection = self._open.get(base) or self._connect(base)
            _bound(connection, until, self._timeout_s)
            connection.request("POST", f"/v3{path}", data, headers)
            response = connection.getresponse()
            body = _read(connection, response, until, self._timeout_s)
            if response.will_close:
                self._drop(base)
            return response, body

    def _connect(self, base: str) -> Any:  # noqa: ANN401 - http.client is imported by hand
        """A connection that is open and, where the endpoint says so, encrypted."""
        url = urlsplit(base)
        host, port = url.hostname or "", url.port or 0
        context = self._tls.context() if self._tls and url.scheme == "https" else None
        limit_s = max(0.001, min(CONNECT_TIMEOUT_S, self._timeout_s, waits.seconds_left()))
        connection = http_client.HTTPConnection(host, port)
        with self._connecting(host):
            if self._settings.dial:
                sock = self._settings.dial(host, port)
                sock.settimeout(limit_s)
            else:
                sock = socket.create_connection((_name(host), port), limit_s)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None and not isinstance(context, bool):
                sock = context.wrap_socket(sock, server_hostname=host)
        connection.sock = sock
        self._open[base] = connection
        return connection

    def _drop(self, base: str) -> None:
        if connection := self._open.pop(base, None):
            connection.close()

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
    def _errors(self, base: str) -> Iterator[None]:
        """The one place where errors of http.client, ssl and the socket become ours; they end the connection."""
        try:
            yield
        except EtcdUnreachable:
            self._drop(base)
            raise
        except TimeoutError:
            self._drop(base)
            raise EtcdUnreachable("timed out", silent=True) from None
        except (http_client.HTTPException, OSError, ValueError) as error:
            self._drop(base)
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
