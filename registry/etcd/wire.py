"""The words of etcd's JSON gateway: requests, answers and refusals as values.

Owns the encoding (base64 keys, int64 as strings, left-out defaults) and the meaning of etcd's error codes.
Pure: no I/O, no clock, no client. It knows nothing of fleet's keys.
"""

from __future__ import annotations

import json
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from registry.frozen import dataclass

MAX_OPS = 128
"""Operations that etcd allows in one transaction branch (its default `--max-txn-ops`)."""

Json = Mapping[str, Any]


class KeyValue(NamedTuple):  # a tuple, because a listing makes hundreds of thousands
    """One key as etcd holds it; `lease` is 0 when no lease is attached."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


@dataclass(frozen=True, slots=True)
class RangeResult:
    """Keys read at one `revision`, sorted by key; `count` is how many there are in all."""

    revision: int
    kvs: tuple[KeyValue, ...]
    count: int


@dataclass(frozen=True, slots=True)
class TxnResult:
    """`gets` holds one tuple for each get or range of the branch that ran, in order."""

    succeeded: bool
    revision: int
    gets: tuple[tuple[KeyValue, ...], ...]


class KeyChange(NamedTuple):
    """One key written (`kv`) or deleted (`kv` is None) at `mod_revision`."""

    key: str
    kv: KeyValue | None
    mod_revision: int


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Changes up to and including `revision`, in order; none of them means: still alive, nothing new."""

    revision: int
    changes: tuple[KeyChange, ...]


@dataclass(frozen=True, slots=True)
class WatchAnswer:
    """One message of a watch's stream; `compact_revision` is 0 unless the start asked for lost history."""

    revision: int
    created: bool
    cancelled: bool
    reason: str
    compact_revision: int
    changes: tuple[KeyChange, ...]


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What one member says of itself; ids are etcd's numbers, `leader` 0 when it knows none."""

    endpoint: str
    version: str
    db_size_bytes: int
    member: int
    leader: int
    revision: int
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What an exchange shows of a member's host: its clock, as HTTP's Date and ours then, and its certificate.

    `certificate_ends` is in seconds since 1970, 0 without TLS.
    """

    date: str
    asked_at: float
    certificate_ends: float


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the etcd cluster; `name` is empty until it has started."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """One guard of a transaction. Make it with the class methods."""

    body: Json

    @classmethod
    def absent(cls, key: str) -> Compare:
        """The key does not exist."""
        return cls.created(key, 0)

    @classmethod
    def exists(cls, key: str) -> Compare:
        """The key exists, whatever it holds."""
        return cls({"key": text(key), "target": "CREATE", "result": "GREATER", "create_revision": "0"})

    @classmethod
    def mod(cls, key: str, revision: int) -> Compare:
        """The key was last written at `revision`; 0 means absent."""
        return cls._equal(key, "MOD", mod_revision=str(revision))

    @classmethod
    def created(cls, key: str, revision: int) -> Compare:
        """The key was created at `revision`; 0 means absent."""
        return cls._equal(key, "CREATE", create_revision=str(revision))

    @classmethod
    def value(cls, key: str, value: bytes) -> Compare:
        """The key holds exactly `value`; false for an absent key."""
        return cls._equal(key, "VALUE", value=blob(value))

    @classmethod
    def lease(cls, key: str, lease_id: int) -> Compare:
        """The key hangs on this lease; 0 means on none."""
        return cls._equal(key, "LEASE", lease=str(lease_id))

    @classmethod
    def unchanged(cls, prefix: str, revision: int) -> Compare:
        """No key that starts with `prefix` was written after `revision`. It does not see what was deleted."""
        return cls({**span(prefix), "target": "MOD", "result": "LESS", "mod_revision": str(revision + 1)})

    @classmethod
    def _equal(cls, key: str, target: str, **operand: str) -> Compare:
        return cls({"key": text(key), "target": target, "result": "EQUAL", **operand})


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a transaction. Make it with the class methods."""

    kind: str
    body: Json

    @classmethod
    def put(cls, key: str, value: bytes, lease: int = 0) -> Op:
        """Write the key; `lease` 0 detaches it from any lease."""
        return cls("request_put", put_request(key, value, lease))

    @property
    def key(self) -> str:
        """The key that it is about."""
        return decode_key(self.body)

    @property
    def unleased_key(self) -> str:
        """The key that a put writes without a lease; "" for everything else."""
        return "" if self.kind != "request_put" or "lease" in self.body else self.key

    @classmethod
    def delete(cls, key: str) -> Op:
        """Delete the key, if it is there."""
        return cls("request_delete_range", {"key": text(key)})

    @classmethod
    def delete_prefix(cls, prefix: str) -> Op:
        """Delete every key that starts with `prefix`."""
        return cls("request_delete_range", span(prefix))

    @classmethod
    def get(cls, key: str) -> Op:
        """Read one key."""
        return cls("request_range", {"key": text(key)})

    @classmethod
    def range(cls, prefix: str, limit: int = 0) -> Op:
        """Read every key that starts with `prefix`, or the first so many."""
        return cls("request_range", {**span(prefix), "limit": str(limit)} if limit else span(prefix))


class EtcdError(Exception):
    """An error that etcd itself answered: gRPC code and message. `complete`: the message says what to do, too."""

    def __init__(self, code: int, message: str, *, complete: bool = False) -> None:
        super().__init__((message or f"error code {code}").removeprefix("etcdserver: "))
        self.code = code
        self.message = message
        self.complete = complete
        self.remembered = False  # not said now, but at the last attempt, which is too fresh to be repeated

    @property
    def token_refused(self) -> bool:
        """The token is missing, expired, or older than the last change of the users."""
        return (
            self.code == 16
            or "user name is empty" in self.message
            or self.outdated
            or "invalid auth token" in self.message  # why a watch is cancelled, which carries no code
        )

    @property
    def outdated(self) -> bool:
        """Users or rights were changed while etcd looked at the request: nothing is wrong with it or its token."""
        return "revision in header is old" in self.message or "revision of auth store is old" in self.message

    @property
    def permanent(self) -> bool:
        """Trying again cannot help: wrong credentials or missing rights."""
        return self.code == 7 or self.token_refused or self.forbidden or "authentication failed" in self.message

    @property
    def forbidden(self) -> bool:
        """The user is known, and lacks the right."""
        return "permission denied" in self.message

    @property
    def no_leader(self) -> bool:
        """The member is cut off from its quorum, so it took nothing in."""
        return "no leader" in self.message

    @property
    def not_applied(self) -> bool:
        """etcd refused before it proposed anything, so that even a write may be sent again."""
        dialing = "Error while dialing" in self.message or "connection refused" in self.message
        return self.no_leader or dialing or self.full or "too many requests" in self.message

    @property
    def full(self) -> bool:
        """The database has reached its quota and takes no writes until somebody makes room."""
        return "database space exceeded" in self.message

    @property
    def transient(self) -> bool:
        """Another member, or the same a little later, may well answer."""
        return self.code in (1, 2, 4, 8, 13, 14)

    @property
    def compacted(self) -> bool:
        """The revision asked for has been compacted away."""
        return self.code == 11 and "compacted" in self.message

    @property
    def lease_missing(self) -> bool:
        """The lease named does not exist."""
        return self.code == 5 and "lease" in self.message


class EtcdUnreachable(Exception):
    """No answer of etcd. `sent` is False when it is certain that the request never reached it.

    `closed`: the peer ended the connection where an answer was due. `silent`: it kept it, and said nothing in time.
    """

    def __init__(self, reason: str, *, sent: bool = True, closed: bool = False, silent: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent
        self.closed = closed
        self.silent = silent


class TooLarge(EtcdUnreachable):
    """More bytes than may be kept: ask for less at a time."""


class OddAnswer(EtcdUnreachable):
    """JSON, and none of etcd's."""

    def __init__(self, what: str) -> None:
        super().__init__(f"sent an answer that is none of etcd's ({what})")


def touched(request: Json) -> tuple[list[str], bool]:
    """The keys that a call writes (True), or else reads; none for one that is not about keys.

    Where it is about all keys that begin so, an asterisk follows.
    """
    parts = [each for name in ("success", "failure") for op in request.get(name, ()) for each in op.items()]
    written = [body for kind, body in parts if kind != "request_range"]
    written += [request] if "value" in request else []
    found = written or [request, *request.get("compare", ()), *(body for _, body in parts)]
    many = (f"{decode_key(each)}{'*' if each.get('range_end') else ''}" for each in found if "key" in each)
    return list(many), bool(written)


def shown(text: str, most: int = 300) -> str:
    """Foreign text as one line that harms no terminal and no log."""
    line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[: most + 1])
    return line if len(line) <= most else f"{line[:most]}…"


def text(key: str) -> str:
    """A key as the gateway wants it. Foreign keys that are no UTF-8 survive the way there and back."""
    return blob(key.encode("utf-8", "surrogateescape"))


def blob(value: bytes) -> str:
    """Bytes as the gateway wants them."""
    return b64encode(value).decode("ascii")


def span(prefix: str) -> dict[str, str]:
    """`key` and `range_end` that cover all keys starting with `prefix`; the empty prefix covers everything."""
    start = prefix.encode("utf-8", "surrogateescape")
    stem = start.rstrip(b"\xff")
    end = stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"
    return {"key": blob(start or b"\0"), "range_end": blob(end)}


def put_request(key: str, value: bytes, lease: int) -> dict[str, str]:
    """Body of a put."""
    body = {"key": text(key), "value": blob(value)}
    return {**body, "lease": str(lease)} if lease else body


def txn_request(compares: Sequence[Compare], then: Sequence[Op], orelse: Sequence[Op]) -> dict[str, Any]:
    """Body of a transaction. ValueError above MAX_OPS operations or guards."""
    for what, items in (("guards", compares), ("operations", then), ("operations", orelse)):
        if len(items) > MAX_OPS:
            raise ValueError(f"a transaction takes {MAX_OPS} {what}, not {len(items)}")
    return {
        "compare": [c.body for c in compares],
        "success": [{op.kind: op.body} for op in then],
        "failure": [{op.kind: op.body} for op in orelse],
    }


def reads_only(ops: Sequence[Op]) -> bool:
    """True when the operations change nothing, so that they may be sent twice."""
    return all(op.kind == "request_range" for op in ops)


def watch_request(prefix: str, start_revision: int) -> dict[str, Any]:
    """Body of a watch over one prefix."""
    return {"create_request": {**span(prefix), "start_revision": str(start_revision), "progress_notify": True}}


ODD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What taking JSON apart that has not etcd's shape may raise: each decoder turns it into OddAnswer."""


def decode_kv(raw: Json) -> KeyValue:
    """One key of an answer."""
    try:
        created, changed = raw.get("create_revision", "0"), raw.get("mod_revision", "0")
        revision = int(changed)
        return KeyValue(
            a2b_base64(raw["key"]).decode("utf-8", "surrogateescape"),
            a2b_base64(raw.get("value", "")),
            revision if created == changed else int(created),
            revision,
            int(raw.get("version", 0)),
            int(raw["lease"]) if "lease" in raw else 0,
        )
    except ODD:
        raise OddAnswer("a key") from None


def decode_key(raw: Json) -> str:
    """The key's name alone."""
    try:
        return a2b_base64(raw["key"]).decode("utf-8", "surrogateescape")
    except ODD:
        raise OddAnswer("a key's name") from None


def decode_kvs(answer: Json) -> tuple[KeyValue, ...]:
    """All keys of a range answer."""
    try:
        return tuple(map(decode_kv, answer.get("kvs", ())))
    except ODD:
        raise OddAnswer("keys") from None


def decode_revision(answer: Json) -> int:
    """The store's revision when this was answered; 0 if the answer has no header."""
    try:
        return int(answer.get("header", {}).get("revision", 0))
    except ODD:
        raise OddAnswer("the header") from None


def decode_store(answer: Json) -> int:
    """The revision in the answer of a read or write. An answer without one is not etcd's, and proves nothing."""
    revision = decode_revision(answer)
    if revision < 1:
        raise OddAnswer("no revision")
    return revision


def decode_page(answer: Json) -> RangeResult:
    """One page of a listing; `count` tells how many keys there are in all."""
    revision = decode_store(answer)
    try:
        return RangeResult(revision, decode_kvs(answer), int(answer.get("count", 0)))
    except ODD:
        raise OddAnswer("a listing") from None


def decode_deleted(answer: Json) -> bool:
    """Whether a deletion found anything."""
    decode_store(answer)
    try:
        return int(answer.get("deleted", 0)) > 0
    except ODD:
        raise OddAnswer("a deletion") from None


def decode_grant(answer: Json) -> int:
    """The number of a new lease."""
    try:
        lease = int(answer["ID"])
    except ODD:
        raise OddAnswer("a lease") from None
    if lease < 1:
        raise OddAnswer("a lease without a number")
    return lease


def decode_remaining(answer: Json) -> float | None:
    """Seconds that a lease has left; None when it is dead: then etcd gives no TTL or -1 instead of an error."""
    try:
        remaining_s = float(answer.get("TTL", 0))
        decode_revision(answer)
        known = "header" in answer
    except ODD:
        raise OddAnswer("a lease") from None
    if not known or not isfinite(remaining_s):
        raise OddAnswer("a lease")
    if remaining_s < 0 or (remaining_s == 0 and "grantedTTL" not in answer):
        return None
    return remaining_s


def decode_renewal(answer: Json) -> float | None:
    """The same from a renewal, which is a stream's first message."""
    try:
        result = answer["result"]
    except ODD:
        raise OddAnswer("a renewal") from None
    return decode_remaining(result)


def decode_txn(answer: Json, then: Sequence[Op], orelse: Sequence[Op]) -> TxnResult:
    """A transaction's answer."""
    revision = decode_store(answer)
    try:
        succeeded = bool(answer.get("succeeded"))
        ops = then if succeeded else orelse
        pairs = zip(ops, answer.get("responses", ()), strict=False)
        gets = tuple(decode_kvs(r.get("response_range", {})) for op, r in pairs if op.kind == "request_range")
    except ODD:
        raise OddAnswer("a transaction") from None
    return TxnResult(succeeded, revision, gets)


def decode_pages(answer: Json) -> tuple[RangeResult, ...]:
    """The answers of a transaction that reads alone, each as a page of a listing at the revision of all."""
    revision = decode_store(answer)
    try:
        found = [each["response_range"] for each in answer["responses"]]
        return tuple(RangeResult(revision, decode_kvs(each), int(each.get("count", 0))) for each in found)
    except ODD:
        raise OddAnswer("a transaction") from None


def decode_watch(line: bytes) -> WatchAnswer:
    """One line of a watch's stream. Raises EtcdError for an error, EtcdUnreachable for half a line."""
    message = parse_json(line)
    if message is None:
        raise EtcdUnreachable("broke off its answer")
    if "error" in message:
        raise decode_refusal(message)
    try:
        result = message.get("result", {})
        return WatchAnswer(
            revision=decode_revision(result),
            created=bool(result.get("created")),
            cancelled=bool(result.get("canceled")),
            reason=shown(str(result.get("cancel_reason") or "etcd ended the watch")),
            compact_revision=int(result.get("compact_revision", 0)),
            changes=tuple(map(_decode_change, result.get("events", ()))),
        )
    except ODD:
        raise OddAnswer("a watch's news") from None


def _decode_change(event: Json) -> KeyChange:
    raw = event["kv"]
    if event.get("type") == "DELETE":
        return KeyChange(decode_key(raw), None, int(raw.get("mod_revision", 0)))
    kv = decode_kv(raw)
    return KeyChange(kv.key, kv, kv.mod_revision)


def decode_status(answer: Json, endpoint: str) -> MemberStatus:
    """A member's status."""
    try:
        header = answer["header"]
        return MemberStatus(
            endpoint=endpoint,
            version=shown(str(answer.get("version", ""))),
            db_size_bytes=int(answer.get("dbSize", 0)),
            member=int(header.get("member_id", 0)),
            leader=int(answer.get("leader", 0)),
            revision=int(header.get("revision", 0)),
            errors=_texts(answer.get("errors", ())),
        )
    except ODD:
        raise OddAnswer("a status") from None


def decode_member(raw: Json) -> Member:
    """One entry of the member list."""
    try:
        return Member(
            id=int(raw.get("ID", 0)),
            name=shown(str(raw.get("name", ""))),
            peer_urls=_texts(raw.get("peerURLs", ())),
            client_urls=_texts(raw.get("clientURLs", ())),
            learner=bool(raw.get("isLearner")),
        )
    except ODD:
        raise OddAnswer("a member") from None


def decode_done(answer: Json) -> None:
    """Nothing but that this is an answer of etcd's: it has a header, if perhaps without a revision."""
    if not isinstance(answer.get("header"), dict):
        raise OddAnswer("no header")


def decode_members(answer: Json) -> tuple[Member, ...]:
    """The member list."""
    decode_done(answer)
    try:
        return tuple(map(decode_member, answer.get("members", ())))
    except ODD:
        raise OddAnswer("members") from None


def _texts(raw: Sequence[object]) -> tuple[str, ...]:
    return tuple(shown(str(each)) for each in raw)


def decode_refusal(answer: Any) -> EtcdError:  # noqa: ANN401 - parsed JSON of unknown shape
    """An error object of etcd: unary answers and streams shape it differently, and so do versions."""
    if not isinstance(answer, dict):
        return EtcdError(2, shown(str(answer)))
    inner = answer.get("error")
    body = inner if isinstance(inner, dict) else answer
    message = body.get("message") or (inner if isinstance(inner, str) else "")
    code = body.get("code") or body.get("grpc_code")
    return EtcdError(code if isinstance(code, int) else 2, shown(str(message)))


def split_lines(chunk: bytes, pending: list[bytes]) -> Iterator[bytes]:
    """Whole lines of a stream; `pending` keeps the unfinished one, unjoined, since lines grow to many MB."""
    *lines, tail = chunk.split(b"\n")
    for line in lines:
        yield b"".join((*pending, line))
        pending.clear()
    if tail:
        pending.append(tail)


def parse_json(data: bytes) -> Json | None:
    """An object, or None when this is no JSON object: somebody other than etcd answered."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):  # RecursionError: brackets within brackets, deeper than any answer
        return None
    return parsed if isinstance(parsed, dict) else None
