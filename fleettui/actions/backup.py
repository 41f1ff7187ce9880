"""A backup: what of a registry is not leased, as one text file that can be checked line by line.

Owns the format. The first line says of which cluster it is, as of which revision, and how many records of each kind
follow; each record is a line with a checksum of its own; the last line has the checksum of all before it. A record
is kept as it lies in etcd, byte for byte and whatever it is: fields and kinds of records that this version does not
know, and records that do not parse, come back as they were. What is leased belongs to a program that lives, and is
in no backup.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

from fleettui.actions.operator import Operator
from registry.errors import CorruptRecord, ForeignRegistry, UserError
from registry.frozen import dataclass
from registry.grammar import line, token
from registry.keys import Address, Keys, Table
from registry.leases import LEASED
from registry.model import Machine, Sentinel
from registry.program.version import installed_version
from registry.records import decode
from registry.sync.sentinel import read_cluster
from registry.units.name import shown

FORMAT = 1
KEYS = Keys()  # records are named by their keys below the prefix


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. `records` are by key, without the prefix that they had.

    `machines` are the host names of the machines that were there, by id: to say who is missing, and nothing else.
    """

    cluster: str
    revision: int
    at: float  # seconds since 1970
    version: str  # of fleettui, that wrote it
    records: Mapping[str, bytes]
    machines: Mapping[str, str]
    digest: str = ""  # its checksum: which backup it is

    @property
    def sentinel(self) -> Sentinel:
        """The sentinel of its cluster."""
        found = decode(Address(Table.CLUSTER), self.records[Table.CLUSTER])
        if not isinstance(found, Sentinel):
            raise TypeError("the sentinel is another record")
        return found

    @property
    def counts(self) -> dict[str, int]:
        """How many records there are of each kind."""
        return dict(sorted(Counter(table_of(key) for key in self.records).items()))

    @property
    def corrupt(self) -> tuple[str, ...]:
        """The keys of the records that this version cannot read, though it knows their kind."""
        found = []
        for key, value in self.records.items():
            address = KEYS.parse(f"{KEYS.prefix}{key}")
            try:
                if address is not None:
                    decode(address, value, key)
                elif table_of(key) in [*Table]:
                    found.append(key)
            except CorruptRecord:
                found.append(key)
        return tuple(found)

    @property
    def unknown(self) -> dict[str, int]:
        """How many records there are of each kind that this version does not know."""
        return {kind: count for kind, count in self.counts.items() if kind not in [*Table]}


def table_of(key: str) -> str:
    """The kind of record that a key without its prefix names."""
    return key.partition("/")[0]


async def read_registry(operator: Operator) -> Backup:
    """All that is not leased, as of one revision. ForeignRegistry where there is no fleet."""
    prefix = operator.keys.prefix
    sentinel = await read_cluster(operator.etcd, operator.keys)
    listing = await operator.etcd.range(prefix)
    records = {
        key: kv.value
        for kv in listing.kvs
        if not kv.lease and table_of(key := kv.key.removeprefix(prefix)) not in LEASED
    }
    if sentinel is None or Table.CLUSTER not in records:
        raise ForeignRegistry(f"{operator.keys.cluster} is missing: this registry is no fleet's")
    machines: dict[str, str] = {}
    for kv in listing.kvs:
        address = operator.keys.parse(kv.key)
        with suppress(CorruptRecord):
            if address and address.table is Table.MACHINES:
                record = decode(address, kv.value, kv.key)
                machines |= {address.first: record.hostname} if isinstance(record, Machine) else {}
    return Backup(sentinel.id, listing.revision, operator.now(), installed_version(), records, machines)


# -- writing


def lines_of(backup: Backup) -> Iterator[bytes]:
    """The lines of the file, each with its end."""
    head = {
        "fleet_backup": FORMAT,
        "version": backup.version,
        "cluster": backup.cluster,
        "revision": backup.revision,
        "at": round(backup.at, 3),
        "records": backup.counts,
        "machines": dict(backup.machines),
    }
    whole = sha256()
    for text in (_json(head), *map(_record_line, backup.records.items())):
        data = f"{text}\n".encode()
        whole.update(data)
        yield data
    yield f"{_json({'sha256': whole.hexdigest()})}\n".encode()


def _record_line(record: tuple[str, bytes]) -> str:
    key, value = record
    fields: dict[str, object] = {"key": key}
    try:
        fields["value"] = value.decode()
    except UnicodeDecodeError:
        fields["base64"] = base64.b64encode(value).decode()
    return _json(fields | {"crc32": _crc(key, value)})


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _crc(key: str, value: bytes) -> str:
    return f"{crc32(value, crc32(key.encode('utf-8', 'surrogateescape'))):08x}"


def write_file(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file that only its owner may read, whole or not at all. UserError when that cannot be done."""
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write the backup to {path}: it is no regular file; use - for standard output")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
        try:
            with os.fdopen(handle, "wb") as partial:
                partial.writelines(lines)
                partial.flush()
                os.fsync(partial.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise UserError(f"cannot write the backup to {path}: {error.strerror}") from error


# -- reading


def read_file(path: Path) -> Backup:
    """The backup in a file. UserError, with the line and what is wrong with it, for one that is damaged or none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        return parse(data)
    except BadLine as error:
        raise UserError(f"{path}:{error.number}: {error.reason}; nothing was restored") from error


class BadLine(ValueError):
    """A line of a backup that cannot be right."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number, self.reason = number, reason


def parse(data: bytes) -> Backup:
    """The backup that a file holds. Raises BadLine."""
    texts = data.split(b"\n")
    head = _head(texts[0])
    last = len(texts) - 1
    if texts[-1] != b"" or b'{"sha256":' not in texts[last - 1][:10]:
        raise BadLine(max(last, 1), "the file ends without its checksum: it was cut off")
    records: dict[str, bytes] = {}
    for number, text in enumerate(texts[1 : last - 1], 2):
        key, value = _record(number, text)
        if key in records:
            raise BadLine(number, f"{shown(key)} is there twice")
        records[key] = value
    digest = sha256(data[: len(data) - len(texts[last - 1]) - 1]).hexdigest()
    if _object(last, texts[last - 1]).get("sha256") != digest:
        raise BadLine(last, "the checksum is not that of the lines before it: some are missing, or are others")
    told = json.loads(texts[0]).get("machines", {})
    names = told.items() if isinstance(told, dict) else ()
    machines = {id_: line(name) for id_, name in names if isinstance(name, str)}
    backup = Backup(*head, records, machines, digest)
    if Table.CLUSTER not in records or Table.CLUSTER in backup.corrupt:
        raise BadLine(1, "it has no sentinel that this version can read, so nobody knows of which cluster it is")
    if backup.sentinel.id != backup.cluster:
        raise BadLine(1, f"it is of cluster {backup.cluster}, and its sentinel is of {backup.sentinel.id}")
    return backup


def _head(text: bytes) -> tuple[str, int, float, str]:
    try:
        found: Any = json.loads(text)
        kind = found["fleet_backup"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadLine(1, "this is no backup of a fleet; make one with fleetctl backup FILE") from None
    version = line(str(found.get("version", "")))
    if type(kind) is not int or kind > FORMAT:
        raise BadLine(
            1,
            f"it was written by fleetctl {version} in format {shown(str(kind))}, and this fleetctl"
            f" {installed_version()} knows format {FORMAT}; upgrade it",
        )
    try:
        return token(found["cluster"]), int(found["revision"]), float(found["at"]), version
    except (ValueError, KeyError, TypeError, OverflowError):
        raise BadLine(1, "it does not say of which cluster, revision and time it is") from None


def _object(number: int, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadLine(number, "it is no JSON object: the file is damaged")
    return found


def _record(number: int, text: bytes) -> tuple[str, bytes]:
    found = _object(number, text)
    key, value = found.get("key"), found.get("value", found.get("base64"))
    if not isinstance(key, str) or not key or key.startswith("/") or not isinstance(value, str):
        raise BadLine(number, "it is no record: the file is damaged")
    try:
        content = value.encode() if "value" in found else base64.b64decode(value, validate=True)
        whole = found.get("crc32") == _crc(key, content)
    except (ValueError, binascii.Error):
        whole = False
    if not whole:
        raise BadLine(number, f"{shown(key)} is not what its checksum says: the file is damaged")
    if table_of(key) in LEASED:
        raise BadLine(number, f"{shown(key)} belongs to a program that lives, and to no backup")
    return key, content
