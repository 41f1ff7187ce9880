"""Answers of any shape where etcd should be: a value or an error of our own, and bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import FleetError, RegistryUnavailable
from registry.etcd import Compacted, Etcd, EtcdSettings, Op, transport, wire
from registry.etcd import watch as etcd_watch
from registry.etcd.failures import judge
from registry.etcd.wire import (
    EtcdError,
    EtcdUnreachable,
    decode_refusal,
    decode_watch,
    parse_json,
    shown,
    split_lines,
)

WORDS = (
    *("header", "revision", "result", "error", "code", "message", "grpc_code", "kvs", "key", "value", "lease"),
    *("more", "create_revision", "mod_revision", "version", "count", "deleted", "succeeded", "responses", "events"),
    *("response_range", "kv", "type", "created", "canceled", "compact_revision", "cancel_reason", "ID", "TTL"),
    *("grantedTTL", "members", "name", "peerURLs", "clientURLs", "isLearner", "leader", "dbSize", "raftTerm"),
    *("errors", "member_id"),
)
words = st.sampled_from(WORDS)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "1", "-1", "\ud800", "\x1b[2J", "DELETE", "a2V5", "/w==", "a2V", "1e5", "nan"]),
    st.just("9" * 5000),
    st.text(max_size=8),
    st.binary(max_size=8).map(lambda data: b64encode(data).decode()),
)
shapes = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=5)),
    max_leaves=20,
)
answers = st.dictionaries(words, shapes, max_size=6)
OPS = (Op.get("a"), Op.put("b", b""), Op.range("c"))

DECODERS: dict[str, Callable[[wire.Json], object]] = {
    "kv": wire.decode_kv,
    "key": wire.decode_key,
    "kvs": wire.decode_kvs,
    "revision": wire.decode_revision,
    "store": wire.decode_store,
    "page": wire.decode_page,
    "deleted": wire.decode_deleted,
    "grant": wire.decode_grant,
    "remaining": wire.decode_remaining,
    "renewal": wire.decode_renewal,
    "txn": lambda answer: wire.decode_txn(answer, OPS, OPS[:1]),
    "status": lambda answer: wire.decode_status(answer, "http://x"),
    "member": wire.decode_member,
    "members": wire.decode_members,
}


@given(answers)
def test_a_decoder_gives_a_value_or_says_that_this_is_not_etcd(answer: dict[str, object]) -> None:
    for decode in DECODERS.values():
        with contextlib.suppress(EtcdUnreachable):
            decode(answer)


@given(shapes, st.integers(100, 599), st.binary(max_size=30), st.text(max_size=20))
def test_an_error_of_any_shape_is_one_line(shape: object, status: int, body: bytes, location: str) -> None:
    assert str(decode_refusal(shape)).isprintable()
    answer = shape if isinstance(shape, dict) else None
    found = judge(status, body, answer, location)
    assert isinstance(found, (EtcdError, EtcdUnreachable))
    assert str(found).isprintable()
    assert len(str(found)) < 2000


@given(st.one_of(answers.map(lambda answer: json.dumps(answer).encode()), st.binary(max_size=60)))
def test_a_line_of_a_watch_is_news_or_an_error_of_ours(line: bytes) -> None:
    with contextlib.suppress(EtcdUnreachable, EtcdError):
        assert decode_watch(line).reason.isprintable()


@given(st.sampled_from([b"[", b'{"a":', b'[{"a":[']), st.integers(1, 100_000))
def test_json_of_any_depth_is_an_object_or_nothing(opening: bytes, depth: int) -> None:
    assert parse_json(opening * depth) is None


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_lines_are_the_same_however_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pending: list[bytes] = []
    lines = [line for start, end in pairwise(edges) for line in split_lines(data[start:end], pending)]
    assert [*lines, b"".join(pending)] == data.split(b"\n")


@given(st.text(max_size=400))
def test_what_is_shown_is_one_line_of_bounded_length(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text, 50)) <= 51


@asynccontextmanager
async def serving(answer: Callable[[asyncio.StreamWriter], object]) -> AsyncIterator[EtcdSettings]:
    """A server that reads a request's head and then writes whatever it likes."""

    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            found = answer(writer)
            if asyncio.iscoroutine(found):
                await found
            writer.write_eof()
            await reader.read()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(guarded(reader, writer)))

    server = await asyncio.start_server(start, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield EtcdSettings((f"http://127.0.0.1:{port}",), request_timeout_s=0.5)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_calls(client: Etcd) -> None:
    """Each kind of call raises an error of ours."""
    calls = [
        client.get("k"),
        client.range("k"),
        client.put("k", b""),
        client.delete("k"),
        client.txn([], [Op.get("k")]),
        client.lease_grant(5),
        client.lease_keepalive(5),
        client.lease_time_to_live(5),
        client.status(),
        client.member_list(),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, FleetError) for each in results), results


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 999 \xff\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01\x00\x00",
        b"",
    ],
    ids=map(str, range(9)),
)
async def test_a_peer_that_speaks_something_else_ends_in_errors_of_ours(raw: bytes) -> None:
    async with serving(lambda writer: writer.write(raw)) as settings, Etcd(settings) as client:
        await all_calls(client)


async def endless(writer: asyncio.StreamWriter, piece: bytes, pause_s: float = 0) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause_s)


async def test_an_answer_without_end_is_not_kept_beyond_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_BYTES", 1 << 20)
    sent = [0]

    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            sent[0] += 65536
            await writer.drain()

    async with serving(flood) as settings, Etcd(replace(settings, request_timeout_s=60.0)) as client:
        with pytest.raises(RegistryUnavailable, match="sent an answer of more than"):
            await client.get("k")
        assert sent[0] < 40 << 20  # and what the kernel holds


async def test_an_answer_that_only_drips_ends_with_the_request_time() -> None:
    async with serving(lambda writer: endless(writer, b" ", 0.05)) as settings, Etcd(settings) as client:
        with pytest.raises(RegistryUnavailable, match="timed out"):
            await asyncio.wait_for(client.get("k"), 20)


@pytest.mark.parametrize("piece", [b"x" * 65536, b"x"])
async def test_a_line_of_a_watch_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    monkeypatch.setattr(etcd_watch, "MOST_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(etcd_watch, "MOST_LINE_PIECES", 50)
    async with (
        serving(lambda writer: endless(writer, piece, 0.001)) as settings,
        Etcd(settings) as client,
        aclosing(client.watch("k", 1)) as watch,
    ):
        with pytest.raises(Compacted):
            await asyncio.wait_for(anext(watch), 60)


async def test_a_listing_that_is_too_large_is_read_in_smaller_pages(
    etcd_client: Etcd, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        await etcd_client.put(f"{prefix}{number:03}", bytes(1000))
    monkeypatch.setattr(transport, "MOST_BYTES", 8000)
    found = await etcd_client.range(prefix)
    assert [kv.key for kv in found.kvs] == [f"{prefix}{number:03}" for number in range(60)]
    monkeypatch.setattr(transport, "MOST_BYTES", 800)
    with pytest.raises(RegistryUnavailable, match="an answer of more than"):
        await etcd_client.range(prefix)


async def test_keys_that_are_no_text_are_listed_watched_and_written_like_others(
    etcd_client: Etcd, prefix: str
) -> None:
    odd = [f"{prefix}{bytes([0xFF, number]).decode('utf-8', 'surrogateescape')}" for number in (0, 10, 255)]
    start = await etcd_client.put(odd[0], b"0")
    for key in odd[1:]:
        assert (await etcd_client.txn([], [Op.put(key, b"1"), Op.get(key)])).gets[0][0].key == key
    assert [kv.key for kv in (await etcd_client.range(prefix, page=1)).kvs] == odd
    async with aclosing(etcd_client.watch(prefix, start)) as watch:
        seen: list[str] = []
        while len(seen) < 3:
            seen += [change.key for change in (await asyncio.wait_for(anext(watch), 20)).changes]
    assert seen == odd
    assert all([await etcd_client.delete(key) for key in odd])
