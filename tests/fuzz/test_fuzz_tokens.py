"""What a host asks with a token, and what a token's record says: a value or a ValueError."""

from __future__ import annotations

import hashlib
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from fleettui.access.exchange import Exchange
from fleettui.tokens.admission import pins
from fleettui.tokens.record import Request, Token

ANY = st.text(alphabet=st.characters(), max_size=60)  # lone surrogates, too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    lambda each: st.lists(each) | st.dictionaries(ANY, each),
    max_leaves=5,
)
LINES = st.sampled_from((
    "hostname=core-1", "hostname=a b", "hostname=$(id)", "hostname=-o", "connection=- - 10.0.0.1 -", "now=1",
    "connection=- - 10.0.0.1,core-1 -", "connection=- - ::1 -", "os=\x1b[2J", "pem=/etc/fleet/ca.pem AAAA", "=",
    "uid=0", "room=/opt 1", "listens=x:y", "unit=", "file=a b", "endpoints=x [", "systemd=99999", "python=3.11",
    "machine=" + "a" * 32, "\r", "\u2028",
))  # fmt: skip
FACTS = st.lists(LINES | ANY, max_size=20).map("\n".join)
KEYS = st.lists(
    st.sampled_from(("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", "@revoked x", "a b\nc d")) | ANY, max_size=4
)
USUAL = {
    "facts": f"hostname=core-1\nconnection=- - 10.0.0.1 -\nmachine={'a' * 32}",
    "now": 1.0, "request": "", "exchange": "", "host_keys": [],
}  # fmt: skip


def read(value: object) -> Request | None:
    raw = json.dumps(value).encode()
    try:
        return Request.read(hashlib.sha256(raw).hexdigest(), raw)
    except ValueError:
        return None


@given(st.dictionaries(st.sampled_from(tuple(USUAL)) | ANY, VALUES, max_size=5))
def test_a_request_is_one_or_none(odd: dict[str, object]) -> None:
    read(odd)
    found = read(USUAL | odd)
    if found is not None:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", found.facts.hostname)


@given(FACTS, KEYS, st.binary(max_size=40))
def test_what_a_host_says_of_itself_is_no_more_than_one_line_of_known_hosts_for_each_key(
    facts: str, keys: list[str], public: bytes
) -> None:
    found = read(USUAL | {"facts": f"{facts}\n{USUAL['facts']}", "host_keys": keys})
    if found is None:
        return
    for line in pins(found, ()):
        assert re.fullmatch(r"[A-Za-z0-9_.:,-]+ \S+ \S+ [0-9a-f]{32}", line), line
    try:
        Exchange().seal(public, found.raw, b"")
    except ValueError:
        return
    assert len(public) == 32


@given(VALUES | st.dictionaries(st.sampled_from(Token.__slots__), VALUES))
def test_a_record_is_a_token_or_none(value: object) -> None:
    try:
        Token.decode(json.dumps(value).encode())
    except ValueError:
        return
