"""What can go wrong on the way to a machine, each in one line that ends with what to do.

FleetError
└── RemoteError            the machine in `host`; show it
    ├── Unreachable            no connection: refused, no route, no answer, the jump host cannot reach it
    ├── HostKeyRefused         the machine proved to be somebody else, or nobody known
    ├── LoginRefused           reached and known, but none of our identities was accepted
    ├── LinkLost               an established connection broke
    └── CommandTimeout         the command did not end in time

Errors of asyncssh and the operating system are turned into these in one place, `connection`.
"""

from __future__ import annotations

from fleettui.escape import clause, escape
from registry.errors import FleetError


def one_line(text: str) -> str:
    """Foreign text as one line that is safe on a terminal."""
    return escape(" ".join(text.split()))


def joined(reason: str, remedy: str) -> str:
    """What is wrong and what to do about it as one line: a reason of others may end in a full stop already."""
    return f"{clause(reason)}; {remedy}" if remedy else reason


class RemoteError(FleetError):
    """Something about reaching a machine. `host` is how the user knows it, `reason` and `remedy` the parts.

    The parts may hold text of the registry, a machine or a file: they are made one line that is safe on a terminal.
    """

    act = "cannot use"

    def __init__(self, host: str, reason: str, remedy: str = "") -> None:
        self.host = one_line(host)
        self.reason = one_line(reason)
        self.remedy = one_line(remedy)
        super().__init__(joined(f"{self.act} {self.host}: {self.reason}", self.remedy))


class MachineUnreachable(RemoteError):
    """No connection came about."""

    act = "cannot reach"


class HostKeyRefused(RemoteError):
    """The host key is unknown, revoked or not the one that was expected. `changed` tells the last two."""

    act = "will not connect to"

    def __init__(self, host: str, reason: str, remedy: str = "", *, changed: bool = False) -> None:
        super().__init__(host, reason, remedy)
        self.changed = changed


class LoginRefused(RemoteError):
    """Authentication failed."""

    act = "cannot log in to"


class LinkLost(RemoteError):
    """The connection ended before the work did."""

    act = "lost the connection to"


class CommandTimeout(RemoteError):
    """A command did not end within its time."""

    act = "gave up on"
