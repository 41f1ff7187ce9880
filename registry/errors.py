"""The errors of all programs, classed by what the caller must do.

FleetError
├── UserError              show it: the text names what is wrong and what to do
├── RegistryError
│   ├── RegistryUnavailable    back off and try again; a write may or may not have happened
│   ├── RegistryDenied         wrong user, password, certificate or rights: show it, do not hammer
│   │   └── CredentialsUnusable    ours cannot even be shown: also a UserError, and mended without a restart
│   ├── Conflict               a guarded transaction lost a race: read again, decide again
│   ├── LeaseLost              the lease is gone: register again
│   ├── LeadershipLost         stop writing at once
│   ├── CorruptRecord          name the key, skip it
│   ├── InvalidRecord          a record of our own that nobody could read: say so, skip it, write the rest
│   ├── HistoryWentBack        an older history than was acted on: change nothing until an operator accepts it
│   └── ForeignRegistry        no sentinel, or another cluster's: change nothing, say so
└── SystemdError           a unit's operation failed in systemd; recorded on that unit alone
"""

from __future__ import annotations

from collections.abc import Iterator


class FleetError(Exception):
    """Root of every error that a program raises on purpose; its text is fit for the user."""


class UserError(FleetError):
    """The user's input or configuration is wrong; the text says what and how to mend it."""


class RegistryError(FleetError):
    """Something about etcd or what it holds."""


class RegistryUnavailable(RegistryError):
    """No endpoint answered in time. A write that raised this may have happened."""


class RegistryDenied(RegistryError):
    """etcd refused us: credentials, certificate or permissions."""


class CredentialsUnusable(RegistryDenied, UserError):
    """A password, key or certificate file of ours cannot be used; nothing was sent to etcd."""


class Conflict(RegistryError):
    """A guarded transaction's comparison failed: somebody else wrote first."""


class LeaseLost(RegistryError):
    """The lease named in a request does not exist (any more)."""


class LeadershipLost(RegistryError):
    """This scheduler no longer leads; nothing was written."""


class CorruptRecord(RegistryError):
    """A value in the registry does not parse. `key` names it."""

    def __init__(self, key: str, reason: str) -> None:
        shown = key if key.isprintable() else ascii(key)[1:-1]
        super().__init__(f"corrupt registry record {shown}: {reason}")
        self.key = key
        self.reason = reason


class InvalidRecord(RegistryError):
    """A record that we would write breaks the grammar that all readers go by; nothing was written."""


class ForeignRegistry(RegistryError):
    """The registry has no sentinel, or the sentinel of another cluster."""


class HistoryWentBack(RegistryError):
    """The registry shows an older history than was acted on: a restored backup, which is no order."""


class SystemdError(FleetError):
    """An operation on a unit failed in systemd.

    `unit` is the unit's name, `operation` the verb ("start"), `dbus_name` the D-Bus error name or "".
    """

    def __init__(self, unit: str, operation: str, reason: str, dbus_name: str = "") -> None:
        super().__init__(f"cannot {operation} unit {unit}: {reason}")
        self.unit = unit
        self.operation = operation
        self.reason = reason
        self.dbus_name = dbus_name


def first_cause(error: BaseException) -> BaseException:
    """Return the error that ended a group of tasks: of several the first that nobody foresaw, else the first."""
    causes = list(_leaves(error))
    return next((each for each in causes if not isinstance(each, FleetError)), causes[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for each in error.exceptions:
        yield from _leaves(each)
