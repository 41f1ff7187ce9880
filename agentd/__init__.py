"""The agent: makes one machine's systemd match its schedule, and reports what it sees.

May import `registry` only. dbus-next is known in `agentd.bus` and `agentd.systemd_connection` alone.
"""

from importlib.metadata import PackageNotFoundError, version


def _version() -> str:
    try:
        return version("fleettui")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"


__version__ = _version()
