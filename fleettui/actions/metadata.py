"""Metadata at run time as an operator types it: `set-metadata MACHINE… KEY=VALUE…`, `unset-metadata MACHINE KEY…`.

Owns how the words are told apart. What a change makes of a machine is `machines.set_metadata`'s to know. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.errors import UserError
from registry.units.options import metadata_pair


def to_set(words: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """The machines and what to set: words with "=" are pairs. UserError when either is missing or malformed."""
    machines = tuple(word for word in words if "=" not in word)
    changes: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            metadata_pair(f"{key}={value or 'any'}")  # an empty value hides the machine's own
            changes[key] = value
    if not machines or not changes:
        missing = "KEY=VALUE" if machines else "machine"
        raise UserError(f"no {missing} is given; for example: fleetctl set-metadata core-1 region=eu")
    return machines, changes


def to_unset(words: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """The machine, which comes first, and the keys to leave to it again. UserError when one is missing."""
    machine, *names = words
    keys = [name.partition("=")[0] for name in names]
    if not keys:
        raise UserError(f"no KEY is given; for example: fleetctl unset-metadata {machine} region")
    for key in keys:
        metadata_pair(f"{key}=any")
    return (machine,), dict.fromkeys(keys)
