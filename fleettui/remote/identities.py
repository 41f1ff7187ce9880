"""Who we are to the other side: the keys we offer, in order, and what to say when none was accepted.

Order: the identity files that fleet's configuration names, then what the ssh agent holds (only those that belong
to an identity file, where the ssh configuration says IdentitiesOnly), then the identity files of the ssh
configuration or ssh's default ones. No agent is ever required; an encrypted key that no agent holds is passed over
and named.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncssh

from fleettui.userpath import expanded
from registry.errors import UserError

DEFAULT_FILES = (
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_rsa",
    "~/.ssh/id_ed25519_sk",
    "~/.ssh/id_ecdsa_sk",
)
AGENT_TIMEOUT_S = 3.0


@dataclass(slots=True)
class FileKeys:
    """What one list of identity files gave. `public` also holds the public halves of encrypted keys."""

    keys: list[asyncssh.SSHKeyPair] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    public: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Identities:
    """The keys to offer. `agent` must stay open until the login is done; `tried` and `notes` are for people."""

    keys: list[asyncssh.SSHKeyPair] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    agent: asyncssh.SSHAgentClient | None = None

    def close(self) -> None:
        """Let go of the agent."""
        if self.agent:
            self.agent.close()

    def explain(self) -> str:
        """What was offered, and what could not be, in one line."""
        offered = f"offered {', '.join(self.tried)}" if self.tried else "there was no key to offer"
        return "; ".join([offered, *self.notes])


def read_named(files: Sequence[str]) -> FileKeys:
    """Keys of files that the user named: a missing or broken one is a UserError. Reads files: use a thread."""
    found = FileKeys()
    for file in files:
        try:
            _read(file, found)
        except OSError as error:
            raise UserError(f"cannot read identity file {file}: {error.strerror}; mend identity_files") from error
        except ValueError as error:
            raise UserError(f"identity file {file} is not a private key: {error}; mend identity_files") from error
    return found


def read_present(files: Sequence[str]) -> FileKeys:
    """Keys of those files that exist and can be read, as ssh does. Reads files: use a thread."""
    found = FileKeys()
    for file in files:
        try:
            _read(file, found)
        except (OSError, ValueError):
            continue
    return found


async def gather(named: FileKeys, present: FileKeys, agent_path: str, *, only_files: bool) -> Identities:
    """All identities in the order of this module's docstring."""
    result = Identities()
    _add(result, named.keys, named.names)
    await _add_agent(result, agent_path, named.public | present.public if only_files else None)
    _add(result, present.keys, present.names)
    locked = ", ".join(dict.fromkeys([*named.locked, *present.locked]))
    if locked:
        result.notes.append(f"{locked} is encrypted and skipped unless the agent holds it (ssh-add)")
    return result


def agent_path(configured: str | None) -> str:
    """The agent's socket: IdentityAgent of the ssh configuration, else SSH_AUTH_SOCK, else ""."""
    path = configured or os.environ.get("SSH_AUTH_SOCK", "")
    if path == "SSH_AUTH_SOCK":
        path = os.environ.get("SSH_AUTH_SOCK", "")
    return str(expanded(path)) if path and path != "none" else ""


def _read(file: str, found: FileKeys) -> None:
    path = str(expanded(file))
    pairs = list(asyncssh.load_keypairs([path], ignore_encrypted=True))
    found.keys += pairs
    found.names += [file] * len(pairs)
    found.public |= {pair.public_data for pair in pairs}
    if not pairs:
        found.locked.append(file)
        with contextlib.suppress(OSError, ValueError):
            found.public.add(asyncssh.read_public_key(f"{path}.pub").public_data)


def _add(result: Identities, keys: Sequence[asyncssh.SSHKeyPair], names: Sequence[str]) -> None:
    offered = {key.public_data for key in result.keys}
    for key, name in zip(keys, names, strict=True):
        if key.public_data not in offered:
            result.keys.append(key)
            result.tried.append(name)
            offered.add(key.public_data)


async def _add_agent(result: Identities, path: str, wanted: set[bytes] | None) -> None:
    if not path:
        result.notes.append("no ssh agent is running")
        return
    try:
        async with asyncio.timeout(AGENT_TIMEOUT_S):
            result.agent = await asyncssh.connect_agent(path)
            keys = list(await result.agent.get_keys())
    except (OSError, ValueError, asyncssh.Error):
        result.notes.append(f"the ssh agent at {path} does not answer")
        return
    keys = [key for key in keys if wanted is None or key.public_data in wanted]
    _add(result, keys, [f"agent key {key.get_comment() or key.get_algorithm()}" for key in keys])
