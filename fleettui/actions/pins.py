"""Which versions of configs and secrets a unit's file gets before it is stored, and what they are used by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from fleettui.actions.operator import Operator
from fleettui.actions.reading import read_texts, read_units
from registry.errors import UserError
from registry.keys import Table
from registry.mirror import Snapshot
from registry.sync.listing import read_snapshot
from registry.units.check import verify
from registry.units.pins import OPTIONS, Need, NeedKind, is_same, pinned, pins_of, repinned

TABLES = {NeedKind.CONFIG: Table.CONFIG, NeedKind.SECRET: Table.SECRETS}
Newest = Callable[[Need], str]
Used = Mapping[tuple[NeedKind, str], Mapping[str, Sequence[str]]]  # by kind and name: units by version
Holders = Mapping[str, Collection[str]]  # of a config or a secret: versions by unit


def newest_versions(snapshot: Snapshot) -> dict[tuple[NeedKind, str], str]:
    """The newest version of every config and secret."""
    tables = ((NeedKind.CONFIG, snapshot.config), (NeedKind.SECRET, snapshot.secrets))
    return {
        (kind, name): record.versions[0].hash
        for kind, table in tables
        for name, record in table.items()
        if record.versions
    }


async def read_newest(operator: Operator) -> Newest:
    """What finds the newest version of a need; it raises UserError for one that the registry does not have."""
    return newest_in(await read_snapshot(operator.etcd, operator.keys, (Table.CONFIG, Table.SECRETS)))


def newest_in(snapshot: Snapshot) -> Newest:
    """The same, in a snapshot with configs and secrets."""
    known = newest_versions(snapshot)

    def newest(need: Need) -> str:
        found = known.get((need.kind, need.name))
        if found is None:
            what = "KEY=VALUE" if need.kind is NeedKind.CONFIG else "< FILE"
            remedy = f"fleetctl {need.kind.lower()} set {need.name} {what}"
            raise UserError(f"there is no {need} in the registry; set it first: {remedy}")
        return found

    return newest


async def pin_texts(
    operator: Operator,
    texts: Mapping[str, str],
    *,
    keep: bool,
    coming: Mapping[str, str] = {},
    renew: bool = False,
) -> tuple[dict[str, str], dict[str, str]]:
    """The texts to store for units, by name, and why some cannot be.

    A text without versions gets the newest; with `keep` those of the stored one, if that is otherwise the same.
    `coming` are the contents that configs are about to get, by name, which are the newest then; with `renew` what
    is kept gets those as well, and nothing else that is new.
    """
    asking = {name: text for name, text in texts.items() if _may_ask(text) and not verify(name, text, name)}
    if not asking:
        return dict(texts), {}
    known = await read_newest(operator)
    stored = await read_stored(operator, list(asking)) if keep else {}
    found, refused = dict(texts), dict[str, str]()

    def newest(need: Need) -> str:
        return (coming.get(need.name) if need.kind is NeedKind.CONFIG else None) or known(need)

    for name, text in asking.items():
        try:
            if name in stored and is_same(stored[name], text):
                found[name] = _with_coming(stored[name], name, coming, newest) if renew else stored[name]
            else:
                found[name] = pinned(text, name, newest)
        except UserError as error:
            refused[name] = str(error)
    return found, refused


def _with_coming(text: str, name: str, coming: Mapping[str, str], newest: Newest) -> str:
    """A stored text with the versions that are coming; the others stay."""
    present = {pin.need: pin.version for pin in pins_of(text)}

    def version(need: Need) -> str:
        comes = need.kind is NeedKind.CONFIG and need.name in coming
        return newest(need) if comes or need not in present else present[need]

    return repinned(text, name, version)


async def read_stored(operator: Operator, names: Sequence[str]) -> dict[str, str]:
    """The texts that these units have in the registry, of those that have one."""
    units = await read_units(operator, list(names))
    hashes = {name: each.unit.hash for name, each in units.items() if each.unit}
    by_hash = await read_texts(operator, hashes.values())
    return {name: by_hash[sha] for name, sha in hashes.items() if sha in by_hash}


async def renewed(operator: Operator, names: Sequence[str]) -> dict[str, str]:
    """The texts of these units with the newest versions; nothing when all of them have those already."""
    texts = await read_stored(operator, names)
    return renewed_texts(texts, await read_newest(operator)) if any(map(_may_ask, texts.values())) else {}


def renewed_in(snapshot: Snapshot, names: Sequence[str]) -> dict[str, str]:
    """The same, of a snapshot."""
    units = (snapshot.units[name] for name in names if name in snapshot.units)
    texts = {unit.name: snapshot.files[unit.hash].text for unit in units if unit.hash in snapshot.files}
    return renewed_texts(texts, newest_in(snapshot))


def renewed_texts(texts: Mapping[str, str], newest: Newest) -> dict[str, str]:
    """These texts, by unit, with the newest versions; nothing when all of them have those already."""
    after = {name: repinned(text, name, newest) if _may_ask(text) else text for name, text in texts.items()}
    return after if after != texts else {}


async def uses(operator: Operator) -> Used:
    """Which units have which versions, in their present files and in those that rollouts give them."""
    snapshot = await read_snapshot(operator.etcd, operator.keys, (Table.UNITS, Table.ROLLOUTS, Table.FILES))
    return uses_in(snapshot)


async def read_holders(operator: Operator) -> Mapping[tuple[NeedKind, str], Holders]:
    """Which units have which versions in their present files, by kind and name."""
    snapshot = await read_snapshot(operator.etcd, operator.keys, (Table.UNITS, Table.FILES))
    found: dict[tuple[NeedKind, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for need, versions in _versions(snapshot, _present(snapshot)).items():
        for version, units in versions.items():
            for unit in units:
                found[need][unit].add(version)
    return found


def uses_in(snapshot: Snapshot) -> Used:
    """The same, of a snapshot with units, rollouts and files."""
    named = _present(snapshot)
    for rollout in snapshot.rollouts.values():
        for step in () if rollout.state.over else rollout.steps:
            named[step.old].add(step.unit)
            named[step.new].add(step.unit)
    return _versions(snapshot, named)


def _present(snapshot: Snapshot) -> dict[str, set[str]]:
    """The units, by the hash of each file that they have."""
    named: dict[str, set[str]] = defaultdict(set)
    for unit in snapshot.units.values():
        for sha in unit.files:
            named[sha].add(unit.name)
    return named


def _versions(snapshot: Snapshot, named: Mapping[str, set[str]]) -> Used:
    """The units by the versions that their files have; `named` are units by the hash of a file."""
    found: dict[tuple[NeedKind, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for sha, units in named.items():
        file = snapshot.files.get(sha)
        try:
            pins = pins_of(file.text) if file is not None else ()
        except UserError:
            continue
        for pin in pins:
            found[pin.need.kind, pin.need.name][pin.version] += sorted(units)
    return found


def _may_ask(text: str) -> bool:
    return any(option in text for option in OPTIONS)
