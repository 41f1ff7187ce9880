"""How to get in: one host's settings, out of fleet's configuration and the user's own ssh configuration.

What wins, first to last:
  user      the jump host's own USER@, [ssh] user (or --ssh-username), `User`, the local user
  port      the jump host's own :PORT, [ssh] port, `Port`, what the machine registered
  address   `Hostname`, the machine's address
  jump      [ssh] tunnel (or --tunnel), `ProxyJump`, `ProxyCommand`, none; a jump host is reached directly
  identity  see `identities`
`Host` lines are matched against the machine's hostname; if they say nothing special of it, against its address.
Everything here reads files and is called in a thread.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh

from fleettui.remote import hostkeys, identities
from fleettui.remote.endpoint import Endpoint
from fleettui.remote.pins import Pins
from fleettui.userpath import expanded
from registry.errors import UserError
from registry.program.config import SshTable

USER_CONFIG = "~/.ssh/config"
SYSTEM_CONFIG = "/etc/ssh/ssh_config"
_NOBODY = "fleet-name-that-only-catch-all-lines-match"


@dataclass(frozen=True, slots=True)
class SshLogin:
    """All that a connection attempt needs, read and decided."""

    options: asyncssh.SSHClientConnectionOptions
    host: str
    port: int
    called: str  # who a host certificate must be for
    user: str
    jump: str  # "" or a chain of jump hosts, as in ProxyJump
    expected: hostkeys.Expected
    algorithms: list[str]  # of host keys, by preference; [] where the ssh configuration chooses
    named: identities.FileKeys
    present: identities.FileKeys
    agent_path: str
    only_files: bool


def read(endpoint: Endpoint, ssh: SshTable, pins: Pins | None = None) -> SshLogin:
    """The login for one host. Raises UserError for a broken configuration, a missing identity file, odd pins."""
    user = endpoint.user or ssh.user
    found = _parse(endpoint.name, user)
    if _gist(found, endpoint.name) == _gist(_parse(_NOBODY, user), _NOBODY):  # the name has no lines of its own
        found = _parse(endpoint.address, user)
    port = int(str(endpoint.port or found.config.get("Port") or endpoint.registered_port))
    options = _parse(found.orig_host, user, port)  # again: ProxyCommand may name the port
    config = options.config
    host = options.host if config.get("Hostname") else endpoint.address
    alias = str(config.get("HostKeyAlias") or "")
    expected = hostkeys.expect(endpoint, host, port, alias, _known_hosts(config, ssh))
    expected = replace(expected, default_file=ssh.known_hosts or hostkeys.USER_FILES[0])
    files = [str(each) for each in _list(config.get("IdentityFile", list(identities.DEFAULT_FILES)))]
    agent = config.get("IdentityAgent", "")
    pin = pins.find(endpoint.machine) if pins and endpoint.machine else None
    return SshLogin(
        options=options,
        host=host,
        port=port,
        called=alias or (endpoint.name if expected.under == endpoint.name else host),
        user=options.username,
        jump=str(config.get("ProxyJump") or ""),
        expected=hostkeys.with_pin(expected, pin),
        algorithms=[] if config.get("HostKeyAlgorithms") else expected.algorithms(),
        named=identities.read_named(ssh.identity_files),
        present=identities.read_present(files),
        agent_path="" if agent is None else identities.agent_path(str(agent)),
        only_files=bool(config.get("IdentitiesOnly")),
    )


def _gist(options: asyncssh.SSHClientConnectionOptions, name: str) -> str:
    """What the configuration says, the name itself (from %h and the like) left out."""
    return repr(sorted(options.config.get_options(reload=False).items())).replace(name, "%")


def _parse(host: str, user: str, port: int = 0) -> asyncssh.SSHClientConnectionOptions:
    """The ssh configuration as it reads for one host, with nothing loaded that it names."""
    files = [path for path in (expanded(USER_CONFIG), Path(SYSTEM_CONFIG)) if path.is_file()]
    try:
        return asyncssh.SSHClientConnectionOptions(
            host=host,
            port=port or (),
            username=user or (),
            config=files,
            client_keys=None,
            known_hosts=b"",
            x509_trusted_certs=None,
        )
    except RecursionError:
        raise _unusable("an Include line leads back to its own file", host) from None
    except (ValueError, OSError, LookupError, RuntimeError) as error:  # LookupError: a line of "=" and the like
        raise _unusable(" ".join(str(error).split()), host) from error


def _unusable(reason: str, host: str) -> UserError:
    return UserError(f"ssh configuration: {reason}; mend it, {shlex.join(['ssh', '-G', host])} checks it")


def _known_hosts(config: asyncssh.config.SSHConfig, ssh: SshTable) -> tuple[str, ...]:
    if ssh.known_hosts:
        return (ssh.known_hosts,)
    user = config.get("UserKnownHostsFile", list(hostkeys.USER_FILES))
    system = config.get("GlobalKnownHostsFile", list(hostkeys.SYSTEM_FILES))
    files = [str(each) for each in (*_list(user), *_list(system))]
    return tuple(each for each in files if expanded(each).is_file())


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []
