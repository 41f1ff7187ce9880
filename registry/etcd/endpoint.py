"""Where etcd is and how to reach it: settings, and endpoints as users write them.

Pure: turns text into base URLs or into a UserError that says how to mend it; opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from registry.errors import UserError
from registry.frozen import dataclass
from registry.patterns import pattern

if TYPE_CHECKING:
    from socket import socket
    from urllib.parse import SplitResult

DEFAULT_PORT, MOST_PORT = 2379, 65535
_USUAL = pattern(r"(?:(https?)://)?([0-9a-z][0-9a-z.-]{0,252})(?::([1-9][0-9]{0,4}))?/?")
"""Nearly every endpoint that is written. Others are taken apart by urllib, whose import costs a command 3 %."""
Dial = Callable[[str, int], "socket"]
"""Connects to a host and port: how a tunnel is put in the way."""
Remedy = Callable[[str, Sequence[str], bool], tuple[str, str]]
"""Which of these keys a user may not read (or write) as far as can be told, and what would help."""


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """How to reach etcd. Files are paths; the password is read from its file when it is needed, never kept here.

    Keys that begin with one of `leased` are never written without a lease.
    """

    endpoints: tuple[str, ...] = ("http://127.0.0.1:2379",)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password_file: str | None = None
    request_timeout_s: float = 2.5
    dial: Dial | None = None  # None: by this host's own network
    why_closed: Callable[[], str] | None = None  # what `dial` knows of a connection that ended; "" for nothing
    leased: tuple[str, ...] = ()
    remedy: Remedy | None = None

    @property
    def wants_tls(self) -> bool:
        """True when an endpoint written without a scheme means https."""
        return bool(self.ca_file or self.cert_file)

    @property
    def files(self) -> tuple[str | None, ...]:
        """The files that let us in: what a refusal may be mended by."""
        return self.ca_file, self.cert_file, self.key_file, self.password_file


def base_urls(settings: EtcdSettings) -> tuple[str, ...]:
    """The endpoints as `scheme://host:port`, without repeats. UserError for text that is none."""
    scheme = "https" if settings.wants_tls else "http"
    urls = tuple(dict.fromkeys(base_url(endpoint, scheme) for endpoint in settings.endpoints))
    if not urls:
        raise UserError("no etcd endpoint is given: set etcd.endpoints, for example http://127.0.0.1:2379")
    return urls


def check(settings: EtcdSettings) -> None:
    """Refuse what must not be tried: a password in clear over a network, a key that belongs to no certificate."""
    for url in base_urls(settings):
        if not url.startswith("http:") or is_loopback(parts_of(url)[1]):
            continue
        if settings.username:
            raise UserError(
                f"etcd.username and its password would go to {url} in clear: write the endpoint with https://"
                " (and set etcd.ca_file), or let --tunnel end on etcd's own host and write 127.0.0.1"
            )
        if settings.wants_tls:
            option = "etcd.ca_file" if settings.ca_file else "etcd.cert_file"
            raise UserError(
                f"{option} is set, yet nothing that goes to {url} is encrypted: write the endpoint with https://,"
                " or take the files of TLS out"
            )
    if settings.key_file and not settings.cert_file:
        raise UserError(f"etcd.key_file {settings.key_file} is set without etcd.cert_file: set both or neither")


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this one. A name counts only if it can mean nothing else."""
    if host.rstrip(".").lower() == "localhost":
        return True
    if host in ("127.0.0.1", "::1"):
        return True
    import ipaddress  # noqa: PLC0415 - seldom needed

    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def base_url(endpoint: str, scheme: str = "http") -> str:
    """One endpoint as `scheme://host:port`; `scheme` and port 2379 are added where they are missing."""
    written = endpoint.strip()
    usual = _USUAL.fullmatch(written)
    if usual and int(usual[3] or DEFAULT_PORT) <= MOST_PORT:
        return f"{usual[1] or scheme}://{usual[2]}:{usual[3] or DEFAULT_PORT}"
    if "@" in written:  # first, so that no other message repeats a password
        raise UserError("an etcd endpoint carries no user or password: use etcd.username and etcd.password_file")
    if "," in written:
        raise _wrong(written, "give a list, each item one endpoint")
    parts = _split(written if "://" in written else f"{scheme}://{written}", written)
    if parts.scheme not in ("http", "https"):
        raise _wrong(written, f"the scheme {parts.scheme!r} is neither http nor https")
    if parts.username is not None or parts.password is not None:
        raise UserError(
            "an etcd endpoint must not carry a user or password: use etcd.username and etcd.password_file"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _wrong(written, "it must end after the port")
    host = parts.hostname or ""
    if not host or any(c.isspace() or not c.isprintable() for c in host):
        raise _wrong(written, "it names no host")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{_port(parts, written)}"


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Return where an endpoint is, without its scheme. UserError for text that is none."""
    return parts_of(base_url(endpoint))[1:]


def parts_of(base: str) -> tuple[str, str, int]:
    """Return scheme, host and port of what `base_url` has returned."""
    scheme, _, place = base.partition("://")
    host, _, port = place.rpartition(":")
    return scheme, host.strip("[]"), int(port)


def _split(url: str, written: str) -> SplitResult:
    from urllib.parse import urlsplit  # noqa: PLC0415 - see above

    try:
        return urlsplit(url)
    except ValueError as error:
        raise _wrong(written, str(error)) from None


def _port(parts: SplitResult, written: str) -> int:
    try:
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise _wrong(written, "the port is no number from 1 to 65535")
    return port


def _wrong(written: str, why: str) -> UserError:
    return UserError(f"wrong etcd endpoint {written!r}: {why}; write it like http://10.0.0.1:2379")
