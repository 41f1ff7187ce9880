"""An operator's acts on configs and secrets: a new version, an earlier one again, none any more.

Owns how many versions are kept: ten, and whatever older ones units still have. An act is one guarded transaction,
with the event that records it. Nothing of it restarts a unit: its file says which version it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import cast

from fleettui.actions.operator import Operator, commit, persist
from fleettui.actions.pins import TABLES, uses
from registry.errors import Conflict, CorruptRecord, UserError
from registry.etcd import Compare, Op
from registry.frozen import replace
from registry.keys import Address, Table
from registry.model import Config, ConfigVersion, Content, Secret
from registry.records import decode, encode
from registry.sync.listing import read_snapshot
from registry.units.content import content_hash
from registry.units.pins import NeedKind, check_name
from registry.wording import listed

VERSIONS_KEPT = 10
SHORT = 7
CHANGED = "it was changed meanwhile; apply again to see what differs now"
Record = Config | Secret
Make = Callable[[str | None], tuple[str, str]]  # from the newest content's text to another, and what is in that


async def read_all(operator: Operator, kind: NeedKind) -> dict[str, Record]:
    """Every config or secret, by name."""
    snapshot = await read_snapshot(operator.etcd, operator.keys, [TABLES[kind]])
    return dict(snapshot.config if kind is NeedKind.CONFIG else snapshot.secrets)


async def read(operator: Operator, kind: NeedKind, name: str) -> Record:
    """One of them. UserError when there is none."""
    return (await _read(operator, kind, name))[0]


async def read_content(operator: Operator, kind: NeedKind, name: str, version: ConfigVersion) -> str:
    """The text of a version. UserError when the registry does not hold it."""
    kv = await operator.etcd.get(operator.keys.content(version.hash))
    try:
        content = decode(Address(Table.CONTENTS, version.hash), kv.value, kv.key) if kv else None
    except CorruptRecord as error:
        raise UserError(f"{kind.lower()} {name}: {error}") from error
    if not isinstance(content, Content):
        raise UserError(f"the content of version {version.number} of {kind.lower()} {name} is not in the registry")
    return content.text


def choose(record: Record, asked: str | None, *, back: int = 0) -> ConfigVersion:
    """The version of this number, or whose hash begins so; by default the one `back` before the newest."""
    if asked is None:
        if len(record.versions) <= back:
            raise UserError(f"{record.name} has had no other version")
        return record.versions[back]
    for each in record.versions:
        if asked == str(each.number) or (len(asked) >= SHORT and each.hash.startswith(asked)):
            return each
    listed = ", ".join(str(each.number) for each in record.versions)
    raise UserError(f"{asked!r} is no version of {record.name}; it has {listed}")


async def change(
    operator: Operator, kind: NeedKind, name: str, make: Make, *, absent: bool = True
) -> tuple[ConfigVersion, bool]:
    """Make a new version of what the newest holds (None: there is none yet). Returns it, and whether it is new.

    UserError when there is none, unless it may be `absent`.
    """

    async def attempt() -> tuple[ConfigVersion, bool]:
        record, revision = await _read(operator, kind, name, absent=absent)
        present = record.versions[0] if record.versions else None
        before = await read_content(operator, kind, name, present) if present else None
        text, summary = make(before)
        if present is not None and text == before:
            return present, False
        return await _write(operator, kind, record, revision, (text, summary)), True

    return await persist(attempt)


async def go_back(operator: Operator, kind: NeedKind, name: str, asked: str | None) -> ConfigVersion:
    """Make an earlier version the newest again."""

    async def attempt() -> ConfigVersion:
        record, revision = await _read(operator, kind, name)
        version = choose(record, asked, back=1)
        if version is record.versions[0]:
            return version
        text = await read_content(operator, kind, name, version)
        return await _write(operator, kind, record, revision, (text, version.summary))

    return await persist(attempt)


async def put_applied(operator: Operator, before: Config | None, after: Config, text: str, summary: str) -> None:
    """Write a config as a folder has it: `after` with this content as its newest version.

    Conflict when the config is not `before` any more; None: there was none.
    """
    record, revision = await _read(operator, NeedKind.CONFIG, after.name, absent=True)
    if record != (before or Config(after.name)) or bool(revision) is not bool(before):
        raise Conflict(CHANGED)
    if after.versions and after.versions[0].hash == content_hash(text):
        await _commit(operator, (NeedKind.CONFIG, after.name), revision, after, (), f"of {after.owner}")
    else:
        await _write(operator, NeedKind.CONFIG, after, revision, (text, summary))


async def keep_only(operator: Operator, kind: NeedKind, name: str, kept: Collection[str]) -> None:
    """Forget the versions of other contents than these, by hash. The newest stays in any case."""

    async def attempt() -> None:
        record, revision = await _read(operator, kind, name)
        stays = [each for at, each in enumerate(record.versions) if not at or each.hash in kept]
        gone = [each for each in record.versions if each not in stays]
        if not gone:
            return
        after = replace(record, versions=tuple(stays))
        forgotten = [Op.delete(operator.keys.content(sha)) for sha in {each.hash for each in gone}]
        done = f"{len(gone)} earlier versions forgotten"
        await _commit(operator, (kind, name), revision, after, forgotten, done)

    await persist(attempt)


async def destroy(operator: Operator, kind: NeedKind, name: str, expected: Record | None = None) -> None:
    """Forget a config or a secret with all its versions. UserError while units have it.

    Where another record is `expected`, it is refused, too.
    """

    async def attempt() -> None:
        record, revision = await _read(operator, kind, name)
        if expected is not None and record != expected:
            raise UserError(CHANGED)
        if used := (await uses(operator)).get((kind, name)):
            units = listed(sorted({unit for named in used.values() for unit in named}), 3)
            raise UserError(
                f"{kind.lower()} {name} is used by {units}; destroy them first, or submit them without it"
            )
        forgotten = [Op.delete(operator.keys.content(each.hash)) for each in record.versions]
        await _commit(operator, (kind, name), revision, None, forgotten, "destroyed")

    await persist(attempt)


async def _read(operator: Operator, kind: NeedKind, name: str, *, absent: bool = False) -> tuple[Record, int]:
    """The record and its revision; an empty one and 0 when there is none, if that may be."""
    key = operator.keys.at(Address(TABLES[kind], check_name(name)))
    kv = await operator.etcd.get(key)
    if kv is None:
        if not absent:
            raise UserError(f"there is no {kind.lower()} {name}; see: fleetctl {kind.lower()} list")
        return Config(name) if kind is NeedKind.CONFIG else Secret(name), 0
    try:
        return cast("Record", decode(Address(TABLES[kind], name), kv.value, key)), kv.mod_revision
    except CorruptRecord as error:
        raise UserError(f"{error}; delete that key with etcdctl, and set it again") from error


async def _write(
    operator: Operator, kind: NeedKind, record: Record, revision: int, content: tuple[str, str]
) -> ConfigVersion:
    """Write a version that is the newest from now on, and forget what is too old. Conflict if a race is lost."""
    text, summary = content
    sha, numbers = content_hash(text), [each.number for each in record.versions]
    version = ConfigVersion(sha, max(numbers, default=0) + 1, operator.actor, operator.now(), summary)
    earlier = [each for each in record.versions if each.hash != sha]
    kept, old = earlier[: VERSIONS_KEPT - 1], earlier[VERSIONS_KEPT - 1 :]
    if old:
        used = (await uses(operator)).get((kind, record.name), {})
        kept += [each for each in old if each.hash in used]
        old = [each for each in old if each.hash not in used]
    after = replace(record, versions=(version, *kept))
    ops = [Op.put(operator.keys.content(sha), encode(Content(sha, text)))]
    ops += [Op.delete(operator.keys.content(each.hash)) for each in old]
    await _commit(operator, (kind, record.name), revision, after, ops, f"version {version.number}")
    return version


async def _commit(
    operator: Operator,
    of: tuple[NeedKind, str],
    revision: int,
    after: Record | None,
    contents: Iterable[Op],
    done: str,
) -> None:
    """Write a record, or delete it, with its contents and the event that says what was done.

    Conflict unless the record is still of this revision.
    """
    kind, name = of
    key = operator.keys.at(Address(TABLES[kind], name))
    record = Op.delete(key) if after is None else Op.put(key, encode(after))
    event = operator.event(kind.lower(), reason=f"{kind.lower()} {name}: {done}")
    await commit(operator, [Compare.mod(key, revision)], [record, *contents], [event])
