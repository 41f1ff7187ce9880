"""Sealing every secret of a fleet for another key, and finding what is still sealed for an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from fleettui.actions import configs
from fleettui.actions.operator import Operator
from fleettui.actions.pins import uses
from registry.errors import UserError
from registry.model import Secret
from registry.sealing import key_names, public_of, seal, unseal
from registry.units.content import read_secret, secret_text
from registry.units.pins import NeedKind


async def reseal(operator: Operator, private: str) -> tuple[list[str], dict[str, str]]:
    """Give every secret a version that is sealed for the newest key, with the same value, where it has none.

    Returns the secrets that got one, and by name why others did not.
    """
    newest, done, refused = key_names(private)[0], list[str](), dict[str, str]()
    for name in sorted(await configs.read_all(operator, NeedKind.SECRET)):

        def make(before: str | None, name: str = name) -> tuple[str, str]:
            key, sealed = read_secret(before or "", name)
            if before is not None and key == newest:
                return before, "sealed"
            return secret_text(name, *seal(public_of(private), name, unseal(private, key, sealed, name))), "sealed"

        try:
            _, new = await configs.change(operator, NeedKind.SECRET, name, make)
        except UserError as error:
            refused[name] = str(error)
        else:
            done += [name] if new else []
    return done, refused


async def lagging(operator: Operator, private: str) -> Mapping[str, str]:
    """The units that have a version of a secret which the newest key does not open, with the secret of each."""
    found: dict[str, str] = {}
    records = await configs.read_all(operator, NeedKind.SECRET)
    for (kind, name), versions in (await uses(operator)).items():
        if kind is not NeedKind.SECRET:
            continue
        record = records.get(name)
        good = await _of_newest(operator, record, private) if isinstance(record, Secret) else set[str]()
        found |= {unit: name for sha, units in versions.items() if sha not in good for unit in units}
    return found


async def forget_earlier(operator: Operator, private: str) -> None:
    """Forget the versions of every secret that the newest key does not open."""
    for name, record in (await configs.read_all(operator, NeedKind.SECRET)).items():
        if isinstance(record, Secret):
            await configs.keep_only(operator, NeedKind.SECRET, name, await _of_newest(operator, record, private))


async def _of_newest(operator: Operator, record: Secret, private: str) -> set[str]:
    """The versions that are sealed for the newest key, by hash."""
    newest, found = key_names(private)[0], set[str]()
    for version in record.versions:
        with suppress(UserError):
            text = await configs.read_content(operator, NeedKind.SECRET, record.name, version)
            if read_secret(text, record.name)[0] == newest:
                found.add(version.hash)
    return found
