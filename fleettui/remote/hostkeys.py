"""Host keys that may be trusted: the user's, those of an earlier connection, and the registry's.

The user's word wins: when a known_hosts file has a key (or an authority) for the machine's name, else for its
address, that one alone is trusted. Without one, the key that the machine showed when it was first connected to is
(`pins`). The registry's keys serve for that first sight, no longer: a writer there must not be able to lead
the user to another host. A key that known_hosts marks revoked is never trusted. A key that nobody vouches for is
*changed* when another one was expected and *unknown* when none was: only the unknown may be let in, and only if the
user switched strict checking off. known_hosts is never written.
"""

from __future__ import annotations

import contextlib
import ipaddress
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import asyncssh
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

from fleettui.remote.endpoint import Endpoint
from fleettui.remote.errors import HostKeyRefused
from fleettui.remote.pins import Pin
from fleettui.userpath import expanded
from registry.errors import UserError

SYSTEM_FILES = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
USER_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
DEFAULT_PORT = 22
Keys = tuple[asyncssh.SSHKey, ...]


class Voucher(StrEnum):
    """Who says what the host's key is."""

    KNOWN = "known_hosts"
    PIN = "an earlier connection"
    REGISTRY = "the registry"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Expected:
    """All that is known of one host's keys beforehand.

    `known` and `authorities` are known_hosts' for `under`, the name that it has them for ("" when the user's own
    configuration named it); `spare` are those of the address without its port. `names` is what the host is called
    and where it is.
    """

    registry: Keys = ()
    known: Keys = ()
    authorities: Keys = ()
    revoked: Keys = ()
    spare: Keys = ()
    pinned: asyncssh.SSHKey | None = None
    pin: Pin | None = None
    under: str = ""
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # known_hosts files that were read
    default_file: str = USER_FILES[0]  # where a new key would be written

    @property
    def voucher(self) -> Voucher:
        """Whose word counts."""
        if self.known or self.authorities:
            return Voucher.KNOWN
        if self.pinned:
            return Voucher.PIN
        return Voucher.REGISTRY if self.registry or self.spare else Voucher.NOBODY

    @property
    def redirected(self) -> bool:
        """Whether known_hosts speaks of another host: the machine had other names when its key was pinned."""
        return bool(self.voucher is Voucher.KNOWN and self.pin and self.under and self.under not in self.pin.names)

    @property
    def trusted(self) -> Keys:
        """The keys that may be shown."""
        match self.voucher:
            case Voucher.KNOWN if self.redirected:
                return tuple(key for key in self.known if key == self.pinned)
            case Voucher.KNOWN:
                return self.known
            case Voucher.PIN:
                return (self.pinned,) if self.pinned else ()
            case _:
                return (*self.registry, *self.spare)

    def algorithms(self) -> list[str]:
        """Host key algorithms to ask for: those of trusted keys first, so that a known key is chosen if it can be.

        The others follow, so that a host with nothing but other keys shows one and can be called changed; asking
        for trusted ones alone makes sshd hang up without a word.
        """
        trusted = [each for key in self.trusted for each in key.sig_algorithms]
        certified = get_default_certificate_algs() if self.authorities else []
        names = dict.fromkeys([*certified, *trusted, *get_default_public_key_algs()])
        return [name.decode("ascii") for name in names]

    def as_known_hosts(self) -> tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]:
        """In the shape that asyncssh takes; never None, which would switch the check off."""
        return list(self.trusted), [] if self.redirected else list(self.authorities), list(self.revoked)


def lookups(name: str, address: str, port: int, alias: str) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """What known_hosts may have a host under: names in the order in which they count, each with its spellings.

    The second list is the address without its port: another host's sshd may be behind it, so that it never speaks
    against a key. A user's HostKeyAlias stands alone.
    """
    if alias:
        return [("", _spellings(alias, port, plain=True))], []
    place = address if port == DEFAULT_PORT else f"[{address}]:{port}"
    named = [] if name == address else [(name, _spellings(name, port, plain=True))]
    return [*named, (place, _spellings(address, port))], [] if port == DEFAULT_PORT else _alike(address)


def _spellings(name: str, port: int, *, plain: bool = False) -> list[str]:
    """[name]:port for a port that is not ssh's own; the plain name otherwise, or as well."""
    with_port = [] if port == DEFAULT_PORT else [f"[{each}]:{port}" for each in _alike(name)]
    return with_port + (_alike(name) if plain or not with_port else [])


def _alike(name: str) -> list[str]:
    """The name as it is, in lower case as ssh writes it, and an address in its shortest form."""
    try:
        short = str(ipaddress.ip_address(name))
    except ValueError:
        short = name
    return list(dict.fromkeys((name, name.lower(), short)))


def expect(endpoint: Endpoint, address: str, port: int, alias: str, files: Sequence[str]) -> Expected:
    """What known_hosts and the registry say of the host at `address`. Reads files: call it in a thread."""
    registry: list[asyncssh.SSHKey] = []
    for text in endpoint.host_keys:
        with contextlib.suppress(ValueError):  # one that does not parse vouches for nothing
            registry.append(asyncssh.import_public_key(text))
    entries = asyncssh.SSHKnownHosts()
    for file in files:
        with contextlib.suppress(OSError):
            load_text(entries, expanded(file).read_text(encoding="utf-8", errors="replace"))
    named, bare = lookups(endpoint.name, address, port, alias)
    found = [(under, matching(entries, spellings)) for under, spellings in named]
    beside = matching(entries, bare)
    under, (known, authorities, _) = next((each for each in found if each[1][0] or each[1][1]), ("", ((), (), ())))
    return Expected(
        registry=tuple(registry),
        known=known,
        authorities=authorities,
        revoked=_unique(key for _, match in [*found, ("", beside)] for key in match[2]),
        spare=beside[0],
        under=under,
        names=tuple(under for under, _ in named if under) or (endpoint.name, address),
        files=tuple(files),
    )


def with_pin(expected: Expected, pin: Pin | None) -> Expected:
    """The same with what an earlier connection saw. Raises UserError for a pin that is no key."""
    if pin is None:
        return expected
    try:
        key = asyncssh.import_public_key(pin.key)
    except ValueError:
        way = f"run fleetctl ssh --forget-key {pin.machine}"
        raise UserError(f"the pinned host key of machine {pin.machine} is no key; {way}") from None
    return replace(expected, pinned=key, pin=pin)


def refusal(endpoint: Endpoint, expected: Expected, presented: asyncssh.SSHKey | None, port: int) -> HostKeyRefused:
    """Why the connection was refused: what came, what was expected from where, and the way out."""
    came = fingerprint(presented) if presented else "a key of a type that nobody vouches for"
    if expected.revoked and not presented:  # asyncssh refuses a revoked key before it asks us about it
        return _refuse(endpoint, "its host key is marked revoked in known_hosts", "do not trust it")
    if expected.voucher is Voucher.NOBODY:
        why = f"its host key {came} is in neither the registry nor known_hosts"
        scan = shlex.join(["ssh-keyscan", "-p", str(port), endpoint.address])
        way = f"compare it on the machine, then run {scan} >> {expected.default_file}"
        return HostKeyRefused(endpoint.shown, why, way)
    if expected.redirected and expected.pin:
        before = " or ".join(expected.pin.names)
        pinned = fingerprint(expected.pinned) if expected.pinned else "its key"
        why = f"it was {before} when {pinned} was pinned, and now shows {came} as {expected.under}"
        return _refuse(endpoint, why, _forget(expected.pin.machine))
    why = f"its host key changed: it shows {came}, expected {_sources(expected)}"
    return _refuse(endpoint, why, _way(endpoint, expected))


def first_sight(endpoint: Endpoint, expected: Expected, key: asyncssh.SSHKey, other: Pin | None) -> str:
    """What to say when a key is pinned."""
    text = f"pinned the host key of {endpoint.shown}: {fingerprint(key)}, by the word of {expected.voucher}"
    if other is None:
        return text
    return f"{text}; on {other.day} it showed another key, when the registry gave another cluster's id"


def fingerprint(key: asyncssh.SSHKey) -> str:
    """ "ssh-ed25519 SHA256:…", as ssh-keygen -l shows it."""
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def written(key: asyncssh.SSHKey) -> str:
    """ "ssh-ed25519 AAAA…", without a comment."""
    return " ".join(key.export_public_key("openssh").decode("ascii").split()[:2])


def _refuse(endpoint: Endpoint, why: str, way: str) -> HostKeyRefused:
    return HostKeyRefused(endpoint.shown, why, way, changed=True)


def _sources(expected: Expected) -> str:
    """The trusted keys, and who said so."""
    files = " and ".join(expected.files)
    keys = " or ".join(map(fingerprint, expected.trusted))
    match expected.voucher:
        case Voucher.KNOWN if expected.authorities:
            signers = " or ".join(map(fingerprint, expected.authorities))
            signed = f"one signed by {signers} (authorities of {files})"
            return f"{keys} (from {files}) or {signed}" if keys else signed
        case Voucher.KNOWN:
            return f"{keys} (from {files})"
        case Voucher.PIN:
            return f"{keys} (pinned when it was first connected to, on {expected.pin.day if expected.pin else ''})"
        case _:
            named = [("the registry", expected.registry), (files, expected.spare)]
            return " or ".join(
                f"{' or '.join(map(fingerprint, keys))} (from {place})" for place, keys in named if keys
            )


def _way(endpoint: Endpoint, expected: Expected) -> str:
    match expected.voucher:
        case Voucher.KNOWN:
            file = ["-f", str(expanded(expected.files[0]))] if len(expected.files) == 1 else []
            remove = shlex.join(["ssh-keygen", "-R", expected.under or endpoint.name, *file])
            return f"if the machine was reinstalled, remove the old key with {remove}, else somebody stands between"
        case Voucher.PIN:
            return _forget(endpoint.machine)
        case _:
            remedy = "restart fleet-agentd there to register them"
            return f"if its keys were renewed, {remedy}, else somebody stands between"


def _forget(machine: str) -> str:
    forget = f"fleetctl ssh --forget-key {machine}"
    return f"if the machine was reinstalled or its keys renewed, run {forget}, else somebody stands between"


def matching(entries: asyncssh.SSHKnownHosts, spellings: Sequence[str]) -> tuple[Keys, Keys, Keys]:
    """Keys, authorities and revoked keys of a host under any of the spellings."""
    matches = [entries.match(each, "", None) for each in spellings]
    return (
        _unique(key for match in matches for key in match[0]),
        _unique(key for match in matches for key in match[1]),
        _unique(key for match in matches for key in match[2]),
    )


def _unique(keys: Iterable[asyncssh.SSHKey]) -> Keys:
    return tuple(dict.fromkeys(keys))


def load_text(known: asyncssh.SSHKnownHosts, text: str) -> None:
    """Take up the lines that parse."""
    for line in text.splitlines():
        try:
            known.load(line)
        except ValueError:
            continue
