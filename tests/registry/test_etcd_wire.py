"""The gateway's words, without a server."""

from __future__ import annotations

import json

import pytest

from registry.errors import UserError
from registry.etcd.endpoint import EtcdSettings, base_url, base_urls
from registry.etcd.wire import EtcdError, Op, blob, decode_refusal, span, split_lines, txn_request


@pytest.mark.parametrize(
    ("prefix", "key", "end"),
    [
        ("/a/", b"/a/", b"/a0"),
        ("", b"\0", b"\0"),
        ("a\udcff", b"a\xff", b"b"),
        ("\udcff\udcff", b"\xff\xff", b"\0"),
        ("/ä", "/ä".encode(), b"/\xc3\xa5"),
    ],
)
def test_a_prefix_covers_exactly_the_keys_that_start_with_it(prefix: str, key: bytes, end: bytes) -> None:
    assert span(prefix) == {"key": blob(key), "range_end": blob(end)}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_come_out_whole_however_the_bytes_are_cut(size: int) -> None:
    lines = [b"", b"one", b"two " * 9, b"", b"tail"]
    data = b"\n".join(lines)
    pending: list[bytes] = []
    seen = [line for i in range(0, len(data), size) for line in split_lines(data[i : i + size], pending)]
    assert [*seen, b"".join(pending)] == lines


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (
            {"error": "etcdserver: no leader", "message": "etcdserver: no leader", "code": 14},
            14,
            "etcdserver: no leader",
        ),
        ({"error": {"grpc_code": 14, "http_code": 503, "message": "closing"}}, 14, "closing"),
        ({"error": "odd"}, 2, "odd"),
        (
            {"code": 5, "message": "etcdserver: requested lease not found"},
            5,
            "etcdserver: requested lease not found",
        ),
        ({"error": {"code": "many"}}, 2, ""),
        ([], 2, "[]"),
    ],
)
def test_refusals_of_every_shape_are_understood(answer: object, code: int, message: str) -> None:
    refusal = decode_refusal(json.loads(json.dumps(answer)))
    assert (refusal.code, refusal.message) == (code, message)


def test_a_refusal_says_whether_a_write_may_be_sent_again() -> None:
    assert EtcdError(14, "etcdserver: no leader").not_applied
    assert not EtcdError(14, "etcdserver: request timed out").not_applied
    assert EtcdError(14, "etcdserver: request timed out").transient
    assert EtcdError(3, "etcdserver: user name is empty").token_refused
    assert EtcdError(7, "etcdserver: permission denied").permanent


def test_a_transaction_too_large_is_an_error_before_it_is_sent() -> None:
    ops = [Op.put(f"k{i}", b"") for i in range(129)]
    with pytest.raises(ValueError, match="128"):
        txn_request([], ops, [])
    assert len(txn_request([], ops[:128], [])["success"]) == 128


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("10.0.0.1:2379", "http://10.0.0.1:2379"),
        ("http://etcd.example", "http://etcd.example:2379"),
        (" https://etcd.example:443/ ", "https://etcd.example:443"),
        ("[::1]:2379", "http://[::1]:2379"),
        ("localhost", "http://localhost:2379"),
    ],
)
def test_endpoints_are_read_as_users_write_them(written: str, url: str) -> None:
    assert base_url(written) == url


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "names no host"),
        ("http://", "names no host"),
        ("ftp://h:1", "neither http nor https"),
        ("http://h:0", "port"),
        ("http://h:70000", "port"),
        ("http://h:x", "port"),
        ("http://h:2379/v3", "end after the port"),
        ("http://h:2379?x=1", "end after the port"),
        ("http://a b:2379", "names no host"),
        ("http://[::1:2379", "Invalid"),
        ("h1:2379,h2:2379", "one endpoint"),
    ],
)
def test_a_wrong_endpoint_is_named_with_the_remedy(written: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        base_url(written)
    assert "http://10.0.0.1:2379" in str(caught.value)


def test_a_password_in_an_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="password_file") as caught:
        base_url("ftp://root:geheim@h:2379")
    assert "geheim" not in str(caught.value)


def test_an_authority_makes_https_the_scheme_of_bare_endpoints() -> None:
    assert base_urls(EtcdSettings(("h:1", "http://h:2", "h:1"), ca_file="ca.pem")) == ("https://h:1", "http://h:2")
    with pytest.raises(UserError, match="no etcd endpoint"):
        base_urls(EtcdSettings(()))
