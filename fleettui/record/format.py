"""The lines of a record: JSON, one line a moment at which something changed. Pure.

A segment is a gzip file of such lines. Its first line says whose it is; then comes what the whole registry held,
and after that what changed. Values stand there as they lie in etcd, byte for byte and whatever they are, by their
key below the registry's prefix. `at` is the first field of every line: seconds since 1970 by the recorder's clock.

    {"at":…,"fleet_record":1,"version":"0.1.0","cluster":"…","prefix":"/fleet/","host":"…","why":"started"}
    {"at":…,"revision":7,"all":{"units/web.service":"{…}",…}}
    {"at":…,"revision":9,"put":{"states/7aea…/web.service":"{…}"},"gone":["pending/web.service"]}
    {"at":…,"link":"lost","reason":"…"}
    {"at":…,"still":true}
    {"at":…,"end":"stopped"}

A value that is not UTF-8 is in base64, under "binary" instead of "put" or "all". What a line holds beyond this is
another version's, and is ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1
_COMPACT: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": False}
Values = Mapping[str, bytes | None]  # by key below the prefix; None: deleted


class DamagedLine(ValueError):
    """A line that no recorder wrote whole."""


@dataclass(frozen=True, slots=True)
class Head:
    """Whose record it is, and why this segment was begun."""

    at: float
    cluster: str
    prefix: str
    host: str = ""  # where it was recorded
    version: str = ""  # of fleettui, that recorded it
    why: str = ""
    format: int = FORMAT

    def line(self) -> bytes:
        """The line."""
        return _line(self.at, fleet_record=self.format, version=self.version, cluster=self.cluster,
                     prefix=self.prefix, host=self.host, why=self.why)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """What one line says. `whole`: `values` is all that there was, not what changed. `link` "" is as before."""

    at: float
    revision: int = 0
    values: Values = field(default_factory=dict)
    whole: bool = False
    link: str = ""
    reason: str = ""
    end: str = ""  # why nothing was recorded after it

    def line(self) -> bytes:
        """The line."""
        texts: dict[str, str] = {}
        binary: dict[str, str] = {}
        gone: list[str] = []
        for key, value in self.values.items():
            if value is None:
                gone.append(key)
                continue
            try:
                texts[key] = value.decode()
            except UnicodeDecodeError:
                binary[key] = base64.b64encode(value).decode()
        fields: dict[str, object] = {"revision": self.revision} if self.values or self.whole else {}
        if texts or self.whole:
            fields["all" if self.whole else "put"] = texts
        fields |= {name: item for name, item in (("binary", binary), ("gone", gone)) if item}
        if self.link:
            fields |= {"link": self.link, "reason": self.reason}
        if self.end:
            fields["end"] = self.end
        return _line(self.at, **(fields or {"still": True}))


def _line(at: float, **fields: object) -> bytes:
    try:
        return f"{json.dumps({'at': round(at, 3), **fields}, **_COMPACT)}\n".encode()
    except UnicodeEncodeError:  # half of a character, in a key or a name
        return f"{json.dumps({'at': round(at, 3), **fields}, separators=(',', ':'))}\n".encode()


AT = b'{"at":'


def time_of(line: bytes) -> float:
    """When a line was written, without reading the rest of it. Raises DamagedLine."""
    number = line[len(AT) : len(AT) + 24].partition(b",")[0]
    try:
        if not line.startswith(AT):
            raise ValueError
        return float(number)
    except ValueError:
        raise DamagedLine("it does not begin with its time") from None


def read_head(line: bytes) -> Head:
    """The first line of a segment. Raises DamagedLine."""
    found = _object(line)
    number = found.get("fleet_record")
    if type(number) is not int:
        raise DamagedLine("this is no record of a fleet; fleettui record makes one")
    if number > FORMAT:
        version = str(found.get("version", ""))[:40]
        raise DamagedLine(f"it was recorded by fleettui {version} in format {number}, this one knows {FORMAT}")
    texts = {name: found.get(name, "") for name in ("cluster", "prefix", "host", "version", "why")}
    if any(type(text) is not str for text in texts.values()):
        raise DamagedLine("its first line does not say whose record it is")
    return Head(at=time_of(line), format=number, **texts)


def read_line(line: bytes) -> Moment:
    """What a later line says. Raises DamagedLine."""
    found = _object(line)
    whole = "all" in found
    texts, binary, gone = found.get("all" if whole else "put", {}), found.get("binary", {}), found.get("gone", [])
    revision, link, reason, end = (found.get(name, rest) for name, rest in _OTHERS)
    try:
        values: dict[str, bytes | None] = {key: text.encode("utf-8", "replace") for key, text in texts.items()}
        values |= {key: base64.b64decode(text, validate=True) for key, text in binary.items()}
        values |= dict.fromkeys(gone)
    except (AttributeError, TypeError, binascii.Error) as error:
        raise DamagedLine("its values are none") from error
    if type(revision) is not int or any(type(text) is not str for text in (link, reason, end, *values)):
        raise DamagedLine("its fields are not what they are called")
    return Moment(time_of(line), revision, values, whole, link, reason, end)


_OTHERS: tuple[tuple[str, Any], ...] = (("revision", 0), ("link", ""), ("reason", ""), ("end", ""))


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DamagedLine("it is no JSON") from error
    if not isinstance(found, dict):
        raise DamagedLine("it is no JSON object")
    return found
