"""Is this the host we mean? The keys that the registry and the user's known_hosts vouch for, and the verdict.

A key is trusted when the registry has it for the machine or when a known_hosts file has it for its address or
name; one that known_hosts marks revoked never is. A key that nobody vouches for is *changed* when we expected
another one and *unknown* when we expected none: only the unknown may be let in, and only if the user switched
strict checking off. No file is ever written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

from fleettui.remote.endpoint import Endpoint
from fleettui.remote.errors import HostKeyRefused

SYSTEM_FILES = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
USER_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class Expected:
    """All that is known of one host's keys beforehand."""

    registry: tuple[asyncssh.SSHKey, ...] = ()
    known: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()
    files: tuple[str, ...] = ()  # known_hosts files that were read

    @property
    def nothing(self) -> bool:
        """Whether nobody vouches for any key of this host."""
        return not (self.registry or self.known or self.authorities or self.revoked)

    def algorithms(self) -> list[str]:
        """Host key algorithms to ask for: those of trusted keys first, so that a known key is chosen if it can be.

        The others follow, so that a host with nothing but other keys shows one and can be called changed; asking
        for trusted ones alone makes sshd hang up without a word.
        """
        trusted = [each for key in (*self.registry, *self.known) for each in key.sig_algorithms]
        certified = get_default_certificate_algs() if self.authorities else []
        names = dict.fromkeys([*certified, *trusted, *get_default_public_key_algs()])
        return [name.decode("ascii") for name in names]

    def as_known_hosts(self) -> tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]:
        """In the shape that asyncssh takes; never None, which would switch the check off."""
        return [*self.registry, *self.known], list(self.authorities), list(self.revoked)


def expect(endpoint: Endpoint, names: Sequence[str], port: int, files: Sequence[str]) -> Expected:
    """What to expect of the host known by `names` at `port`. Reads files: call it in a thread."""
    known = _load(files)
    matches = [known.match(name, "", None) for name in _spellings(names, port)]
    return Expected(
        registry=tuple(_parse(endpoint.host_keys)),
        known=_unique(key for match in matches for key in match[0]),
        authorities=_unique(key for match in matches for key in match[1]),
        revoked=_unique(key for match in matches for key in match[2]),
        files=tuple(files),
    )


def refusal(endpoint: Endpoint, expected: Expected, presented: asyncssh.SSHKey | None, port: int) -> HostKeyRefused:
    """Why the connection was refused: what came, what was expected from where, and the way out."""
    came = fingerprint(presented) if presented else "a key of a type that nobody vouches for"
    if expected.revoked and not presented:  # asyncssh refuses a revoked key before it asks us about it
        return _refuse(endpoint, "its host key is marked revoked in known_hosts", "do not trust it")
    if expected.nothing:
        why = f"its host key {came} is in neither the registry nor known_hosts"
        way = f"compare it on the machine, then run ssh-keyscan -p {port} {endpoint.address} >> ~/.ssh/known_hosts"
        return HostKeyRefused(endpoint.shown, why, way)
    return _refuse(
        endpoint, f"its host key changed: it shows {came}, expected {_sources(expected)}", _way(expected)
    )


def fingerprint(key: asyncssh.SSHKey) -> str:
    """ "ssh-ed25519 SHA256:…", as ssh-keygen -l shows it."""
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def _refuse(endpoint: Endpoint, why: str, way: str) -> HostKeyRefused:
    return HostKeyRefused(endpoint.shown, why, way, changed=True)


def _sources(expected: Expected) -> str:
    named = (
        ("the registry", expected.registry),
        (" and ".join(expected.files), expected.known),
        ("authorities of " + " and ".join(expected.files), expected.authorities),
    )
    return " or ".join(f"{' or '.join(map(fingerprint, keys))} (from {place})" for place, keys in named if keys)


def _way(expected: Expected) -> str:
    if expected.known:
        return "if the machine was reinstalled, remove the old key with ssh-keygen -R, else somebody stands between"
    return "if its keys were renewed, restart fleet-agentd there to register them, else somebody stands between"


def _spellings(names: Sequence[str], port: int) -> list[str]:
    """How known_hosts may spell a host: [name]:port for a port that is not ssh's own, and the plain name.

    The library's own fallback from the one to the other forgets keys that are revoked.
    """
    with_port = [] if port == DEFAULT_PORT else [f"[{name}]:{port}" for name in names if name]
    return list(dict.fromkeys([*with_port, *filter(None, names)]))


def _unique(keys: Iterable[asyncssh.SSHKey]) -> tuple[asyncssh.SSHKey, ...]:
    return tuple(dict.fromkeys(keys))


def _parse(texts: Iterable[str]) -> Iterable[asyncssh.SSHKey]:
    """Keys from the registry; one that does not parse vouches for nothing."""
    for text in texts:
        try:
            yield asyncssh.import_public_key(text)
        except asyncssh.KeyImportError:
            continue


def _load(files: Iterable[str]) -> asyncssh.SSHKnownHosts:
    """The files' entries; a line that does not parse is passed over, as OpenSSH does."""
    known = asyncssh.SSHKnownHosts()
    for file in files:
        for line in _lines(file):
            try:
                known.load(line)
            except ValueError:
                continue
    return known


def _lines(file: str) -> list[str]:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
