"""The version of the installed distribution."""

from __future__ import annotations


def installed_version() -> str:
    """Return the version; "0" for a source tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow to load, seldom wanted

    try:
        return version("fleettui")
    except PackageNotFoundError:
        return "0"
