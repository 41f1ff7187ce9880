"""What an etcd cluster agrees on: keys with their history, leases, users. One revision a change, as in etcd.

Pure but for the time that it is told. Speaks the JSON of etcd's gateway: keys and values are base64, numbers are
strings, defaults are left out. A refusal is raised as `Refused`, with etcd's own code and words.
"""

from __future__ import annotations

import copy
import json
from binascii import a2b_base64, b2a_base64
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Json = Mapping[str, Any]
MAX_OPS = 128
MAX_BYTES = 1_572_864  # of a request
INVALID, NOT_FOUND, DENIED, PRECONDITION, RANGE, UNAVAILABLE, NO_TOKEN = 3, 5, 7, 9, 11, 14, 16


class Refused(Exception):
    """etcd's refusal."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, f"etcdserver: {message}"


class Version(NamedTuple):
    """A key as it was written once; `value` is None where it was deleted.

    `raw` is the gateway's form, and `event` what a watch says of it.
    """

    key: bytes
    value: str | None
    created: int
    revision: int
    version: int
    lease: int
    raw: dict[str, str]
    event: str


class Happened(NamedTuple):
    """One change: the key as it is now, and as it was (None: absent)."""

    now: Version
    before: Version | None


@dataclass
class Lease:
    """A lease, and the keys that go with it."""

    id: int
    ttl_s: int
    ends: float
    keys: dict[bytes, None] = field(default_factory=dict)


class Granted(NamedTuple):
    """Access of a role to the keys from `first` to `end` (b"\\0": all that follow)."""

    first: bytes
    end: bytes
    reads: bool = True
    writes: bool = True


@dataclass
class Users:
    """Who may do what."""

    on: bool = False
    passwords: dict[str, str] = field(default_factory=dict)
    roles: dict[str, list[str]] = field(default_factory=dict)  # of a user
    rights: dict[str, list[Granted]] = field(default_factory=dict)  # of a role
    tokens: dict[str, str] = field(default_factory=dict)  # not kept over a restart


class Store:
    """The state machine."""

    def __init__(self) -> None:
        self.revision = 1
        self.index = 1  # of the log: grows with everything that is agreed on
        self.compacted = 0
        self.leases: dict[int, Lease] = {}
        self.users = Users()
        self.live: dict[bytes, Version] = {}
        self.order: list[bytes] = []  # live keys, sorted
        self.log: list[Happened] = []
        self._past: dict[bytes, list[Version]] = {}

    def copy(self) -> Store:
        """A snapshot. Versions never change, so they are shared."""
        twin = Store()
        twin.__dict__.update(self.__dict__)
        twin.leases = {
            id_: Lease(each.id, each.ttl_s, each.ends, dict(each.keys)) for id_, each in self.leases.items()
        }
        twin.users = copy.deepcopy(self.users)
        twin.users.tokens = {}
        twin.live, twin.order, twin.log = dict(self.live), list(self.order), list(self.log)
        twin._past = {key: list(versions) for key, versions in self._past.items()}
        return twin

    # ---- reading

    def header(self) -> dict[str, Any]:
        return {"revision": str(self.revision)}

    def range(self, request: Json) -> dict[str, Any]:
        """A range request at one revision."""
        revision = int(request.get("revision", 0))
        if revision > self.revision:
            raise Refused(RANGE, "mvcc: required revision is a future revision")
        if 0 < revision < self.compacted:
            raise Refused(RANGE, "mvcc: required revision has been compacted")
        found = self._found(decoded(request["key"]), decoded(request.get("range_end", "")), revision)
        answer: dict[str, Any] = {"header": self.header()}
        if found:
            answer["count"] = str(len(found))
        if request.get("count_only"):
            return answer
        if request.get("sort_target") == "MOD":
            found = sorted(found, key=lambda each: each.revision, reverse=request.get("sort_order") == "DESCEND")
        limit = int(request.get("limit", 0))
        if 0 < limit < len(found):
            found, answer["more"] = found[:limit], True
        if found:
            bare = request.get("keys_only")
            answer["kvs"] = [{**each.raw, "value": ""} if bare else each.raw for each in found]
        return answer

    def _found(self, key: bytes, end: bytes, revision: int) -> list[Version]:
        if 0 < revision < self.revision:
            keys: Iterable[bytes] = sorted(each for each in self._past if within(each, key, end))
            then = (self._at(each, revision) for each in keys)
            return [each for each in then if each is not None and each.value is not None]
        if not end:
            one = self.live.get(key)
            return [one] if one is not None else []
        order = self.order
        stop = len(order) if end == b"\0" else bisect_left(order, end)
        return [self.live[each] for each in order[bisect_left(order, key) : stop]]

    def _at(self, key: bytes, revision: int) -> Version | None:
        return next((each for each in reversed(self._past[key]) if each.revision <= revision), None)

    def since(self, revision: int, key: bytes, end: bytes) -> list[Happened]:
        """What happened to these keys from a revision on, in order."""
        log = self.log
        at = len(log)
        while at and log[at - 1].now.revision >= revision:
            at -= 1
        return [each for each in log[at:] if within(each.now.key, key, end)]

    # ---- writing

    def put(self, request: Json) -> tuple[dict[str, Any], list[Happened]]:
        changes, _ = self._change([("request_put", request)])
        return {"header": self.header()}, changes

    def delete(self, request: Json) -> tuple[dict[str, Any], list[Happened]]:
        changes, _ = self._change([("request_delete_range", request)])
        answer: dict[str, Any] = {"header": self.header()}
        if changes:
            answer["deleted"] = str(len(changes))
        return answer, changes

    def txn(self, request: Json) -> tuple[dict[str, Any], list[Happened]]:
        """A transaction: its operations in order, all at one revision."""
        for part in ("compare", "success", "failure"):
            if len(request.get(part, ())) > MAX_OPS:
                raise Refused(INVALID, "too many operations in txn request")
        succeeded = all(map(self._holds, request.get("compare", ())))
        ops = [next(iter(op.items())) for op in request.get("success" if succeeded else "failure", ())]
        puts = [body["key"] for kind, body in ops if kind == "request_put"]
        if len(puts) != len(set(puts)):
            raise Refused(INVALID, "duplicate key given in txn request")
        changes, responses = self._change(ops)
        answer: dict[str, Any] = {"header": self.header(), "responses": responses}
        if succeeded:
            answer["succeeded"] = True
        return answer, changes

    def _holds(self, compare: Json) -> bool:
        found = self._found(decoded(compare["key"]), decoded(compare.get("range_end", "")), 0)
        return all(self._is(each, compare) for each in found or (None,))

    def _is(self, found: Version | None, compare: Json) -> bool:
        target = compare["target"]
        if target == "VALUE":
            return found is not None and found.value == compare.get("value", "")
        if target == "CREATE":
            is_, wanted = found.created if found else 0, int(compare.get("create_revision", 0))
        elif target == "MOD":
            is_, wanted = found.revision if found else 0, int(compare.get("mod_revision", 0))
        elif target == "LEASE":
            is_, wanted = found.lease if found else 0, int(compare.get("lease", 0))
        else:
            raise Refused(INVALID, f"unknown target {target}")
        result = compare.get("result")
        return is_ > wanted if result == "GREATER" else is_ < wanted if result == "LESS" else is_ == wanted

    def _change(self, ops: list[tuple[str, Json]]) -> tuple[list[Happened], list[dict[str, Any]]]:
        """Carry out operations, all at one revision; none of them if one cannot be."""
        for kind, body in ops:
            if kind == "request_put" and int(body.get("lease", 0)) not in (0, *self.leases):
                raise Refused(NOT_FOUND, "requested lease not found")
        self.index += 1
        new = self.revision + 1
        changes: list[Happened] = []
        responses: list[dict[str, Any]] = []
        for kind, body in ops:
            key = decoded(body["key"])
            responses.append({"response_range": self.range(body)} if kind == "request_range" else {})
            if kind == "request_range":
                continue
            if kind == "request_put":
                changes.append(self._write(key, body.get("value", ""), int(body.get("lease", 0)), new))
            else:
                gone = self._found(key, decoded(body.get("range_end", "")), 0)
                changes += [self._write(each.key, None, 0, new) for each in gone]
        if changes:
            self.revision = new
            self.log += changes
        return changes, responses

    def _write(self, key: bytes, value: str | None, lease: int, new: int) -> Happened:
        before = self.live.get(key)
        if before is not None and before.lease:
            self.leases[before.lease].keys.pop(key, None)
        raw = {"key": encoded(key), "mod_revision": str(new)}
        if value is None:
            now = Version(key, None, 0, new, 0, 0, raw, f'{{"type":"DELETE","kv":{json.dumps(raw)}}}')
            del self.live[key]
            self.order.pop(bisect_left(self.order, key))
        else:
            created, version = (before.created, before.version + 1) if before else (new, 1)
            raw |= {"create_revision": str(created), "version": str(version), "value": value}
            if lease:
                raw["lease"] = str(lease)
                self.leases[lease].keys[key] = None
            now = Version(key, value, created, new, version, lease, raw, f'{{"kv":{json.dumps(raw)}}}')
            if before is None:
                insort(self.order, key)
            self.live[key] = now
        self._past.setdefault(key, []).append(now)
        return Happened(now, before)

    def compact(self, revision: int) -> dict[str, Any]:
        """Forget what was before a revision."""
        if revision <= self.compacted:
            raise Refused(RANGE, "mvcc: required revision has been compacted")
        if revision > self.revision:
            raise Refused(RANGE, "mvcc: required revision is a future revision")
        self.compacted = revision
        self.log = [each for each in self.log if each.now.revision >= revision]
        for key, versions in list(self._past.items()):
            then = self._at(key, revision)
            kept = [each for each in versions if each is then or each.revision > revision]
            if kept[0].value is None and len(kept) == 1:
                del self._past[key]
            else:
                self._past[key] = kept
        return {"header": self.header()}

    # ---- leases

    def grant(self, ttl_s: int, number: int, now: float, least_s: int = 2) -> dict[str, Any]:
        if number in self.leases:
            raise Refused(PRECONDITION, "lease already exists")
        self.index += 1
        ttl_s = max(ttl_s, least_s)
        self.leases[number] = Lease(number, ttl_s, now + ttl_s)
        return {"header": self.header(), "ID": str(number), "TTL": str(ttl_s)}

    def renew(self, number: int, now: float) -> dict[str, Any]:
        lease = self.leases.get(number)
        answer: dict[str, Any] = {"header": self.header(), "ID": str(number)}
        if lease is not None and now < lease.ends:
            lease.ends = now + lease.ttl_s
            answer["TTL"] = str(lease.ttl_s)
        return {"result": answer}

    def time_to_live(self, number: int, now: float) -> dict[str, Any]:
        lease = self.leases.get(number)
        answer: dict[str, Any] = {"header": self.header(), "ID": str(number)}
        if lease is None:
            return {**answer, "TTL": "-1"}
        left_s = max(int(lease.ends - now), 0)
        return {**answer, "grantedTTL": str(lease.ttl_s), **({"TTL": str(left_s)} if left_s else {})}

    def revoke(self, number: int) -> tuple[dict[str, Any], list[Happened]]:
        lease = self.leases.get(number)
        if lease is None:
            raise Refused(NOT_FOUND, "requested lease not found")
        keys = sorted(lease.keys)
        changes, _ = self._change([("request_delete_range", {"key": encoded(key)}) for key in keys])
        del self.leases[number]
        return {"header": self.header()}, changes

    def overdue(self, now: float) -> list[int]:
        """Leases that have ended."""
        return sorted([number for number, each in self.leases.items() if each.ends <= now])

    def promote(self, now: float) -> None:
        """A new leader gives each lease its whole time again: it does not know when it was renewed last."""
        for lease in self.leases.values():
            lease.ends = now + lease.ttl_s

    # ---- users

    def check(self, user: str, key: str, range_end: str, *, write: bool) -> None:
        """Whether a user may read or write these keys."""
        first, end = decoded(key), decoded(range_end)
        roles = self.users.roles.get(user, [])
        for each in (right for role in roles for right in self.users.rights.get(role, ())):
            below = first < each.end and (not end or (end != b"\0" and end <= each.end))
            if (each.writes if write else each.reads) and each.first <= first and (each.end == b"\0" or below):
                return
        if "root" not in roles:
            raise Refused(DENIED, "permission denied")

    def grant_access(self, user: str, password: str, rights: Iterable[Granted]) -> None:
        """Have a user with a role of its own."""
        self.users.on = True
        self.users.passwords[user], self.users.roles[user] = password, [user]
        self.users.rights[user] = list(rights)


def within(key: bytes, first: bytes, end: bytes) -> bool:
    """Whether a key lies in a range as etcd writes them."""
    if not end:
        return key == first
    return key >= first and (end == b"\0" or key < end)


_DECODED: dict[str, bytes] = {}


def decoded(text: str) -> bytes:
    """A key; the same few hundred come again and again."""
    found = _DECODED.get(text)
    if found is None:
        if len(_DECODED) > 20_000:
            _DECODED.clear()
        found = _DECODED[text] = a2b_base64(text)
    return found


def encoded(key: bytes) -> str:
    return b2a_base64(key, newline=False).decode("ascii")
