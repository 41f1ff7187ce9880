"""What comes from machines, records and files on the way to a machine: a value or its own error."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path

import asyncssh
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fleettui.cli.completion import plain
from fleettui.escape import clause, escape, escape_keeping_colours
from fleettui.journal_entry import LineSplitter, parse
from fleettui.remote import MachineUnreachable, format_short, hostkeys, login
from fleettui.remote.endpoint import Endpoint, is_address, is_host_name, of_jumps, of_machine
from fleettui.remote.errors import RemoteError
from fleettui.remote.journal_feed import first_line, remedy
from fleettui.remote.pins import Pin
from fleettui.remote.pins import parse as parse_pins
from registry.errors import UserError
from registry.model import Machine
from registry.program.config import SshTable

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ANY = st.text(alphabet=st.characters(), max_size=60)  # lone surrogates, too
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHPxJPfjm5tNJlhqVEQxX1TGv3UXfHPmjzJm54aRtz9E"
PLAIN = Machine("a" * 32, "core-1", "10.0.0.1", "boot")
WORDS = st.sampled_from((
    "core-1", "10.0.0.1", "::1", "fe80::1%eth0", "[core-1]:22", "user@", "@", ":", ",", "$(id)", "`", "|1|a|b",
    "*", "?", "!", "@revoked", "@cert-authority", "#", KEY, "ssh-rsa AAAA", "ssh-ed25519", " ", "\t", "\n", "\r",
    "\0", "=", "AAAA", "65535", "99999", "-o", "ecdsa-sha2-nistp256 AAAAE2VjZHNh", "/", "\\", '"', "'", "%h",
    "${HOME}", "none", "yes",
))  # fmt: skip
MIXED = st.lists(WORDS | ANY, max_size=14).map("".join)


def assert_safe(line: str) -> None:
    assert not CONTROLS.search(line), repr(line)


def check(error: UserError, pattern: str) -> None:
    assert re.match(pattern, escape(str(error))), str(error)


# Whom to reach


@given(MIXED)
def test_a_jump_host_is_one_or_a_user_error_in_a_safe_line(text: str) -> None:
    try:
        found = of_jumps(text)
    except UserError as error:
        assert_safe(str(error))
        return
    for each in found:
        assert is_host_name(each.address) or is_address(each.address)
        assert 0 <= each.port <= 65535
        assert_safe(each.user)


@given(ANY | MIXED, ANY | MIXED, ANY | MIXED, st.integers())
def test_a_record_gives_an_endpoint_of_plain_words_or_a_safe_line(
    id_: str, hostname: str, address: str, port: int
) -> None:
    for record in (
        Machine(id_, hostname, address, "boot", ssh_port=port),
        replace(PLAIN, hostname=hostname),
        replace(PLAIN, address=address),
    ):
        try:
            found = of_machine(record)
        except MachineUnreachable as error:
            assert_safe(str(error))
            assert_safe(error.host)
            continue
        for word in (found.name, found.address):
            assert shlex.quote(word) == word or "%" in word
            assert not word.startswith("-")
        assert 1 <= found.registered_port <= 65535


@given(ANY, ANY, ANY)
def test_an_error_is_one_safe_line(host: str, reason: str, way: str) -> None:
    assert_safe(str(RemoteError(host, reason, way)))
    assert clause(clause(reason)).strip() == clause(reason).strip() or clause(reason).strip()[-1:] in ".;:"


# Host keys


@given(st.lists(MIXED, max_size=8).map("\n".join), st.integers(1, 65535))
def test_known_hosts_are_read_line_by_line_whatever_they_hold(text: str, port: int) -> None:
    known = asyncssh.SSHKnownHosts()
    hostkeys.load_text(known, f"{text}\ncore-1 {KEY}\n")
    named, bare = hostkeys.lookups("core-1", "10.0.0.1", port, "")
    found = [hostkeys.matching(known, spellings) for _, spellings in [*named, ("", bare)]]
    expected = asyncssh.import_public_key(KEY)
    assert expected in found[0][0] or expected in found[0][2] or "!" in text
    assert all(len(each) == 3 for each in found)


@given(st.lists(MIXED | ANY, max_size=6))
def test_host_keys_of_a_record_that_are_none_vouch_for_nothing(texts: list[str]) -> None:
    endpoint = Endpoint("core-1", "10.0.0.1", host_keys=tuple(texts), machine="a" * 32)
    expected = hostkeys.expect(endpoint, "10.0.0.1", 22, "", ())
    assert len(expected.registry) <= len(texts)
    assert_safe(str(hostkeys.refusal(endpoint, expected, None, 22)))


@given(st.lists(MIXED, max_size=6).map("\n".join))
def test_pinned_keys_are_read_or_refused_with_the_line(text: str) -> None:
    try:
        found = parse_pins(text, "file")
    except UserError as error:
        check(error, r"file line \d+ is not")
        return
    assert parse_pins("".join(pin.line() for pin in found.values()), "file") == found


@given(MIXED | ANY)
def test_a_pin_that_is_no_key_is_a_user_error(text: str) -> None:
    try:
        hostkeys.with_pin(hostkeys.Expected(), Pin("a" * 32, text, "2026-01-01"))
    except UserError as error:
        check(error, r".*--forget-key")


OPTIONS = (
    "Host", "Port", "User", "Hostname", "ProxyCommand", "IdentityFile", "UserKnownHostsFile", "HostKeyAlias",
    "Include", "IdentitiesOnly", "IdentityAgent", "HostKeyAlgorithms", "Ciphers", "ProxyJump", "Compression", "",
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.tuples(st.sampled_from(OPTIONS), MIXED), max_size=5))
@example(lines=[("IdentityFile", "~0")])
@example(lines=[("Host", "core-1\n=")])
@example(lines=[("Include", "*")])
def test_an_ssh_configuration_is_read_or_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[tuple[str, str]]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ssh" / "config"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(f"{key} {value}" for key, value in lines), encoding="utf-8", errors="surrogatepass")
    try:
        found = login.read(of_machine(PLAIN), SshTable())
    except UserError as error:
        check(error, r"[^\n]+$")
        return
    assert isinstance(found.host, str)


# Journals

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    lambda each: st.lists(each, max_size=4),
    max_leaves=8,
)
FIELDS = (
    "__REALTIME_TIMESTAMP", "__CURSOR", "MESSAGE", "PRIORITY", "_PID", "SYSLOG_PID", "SYSLOG_IDENTIFIER", "_COMM",
    "_HOSTNAME", "_SYSTEMD_UNIT", "UNIT", "USER_UNIT", "_SYSTEMD_SLICE",
)  # fmt: skip
USUAL = {"__CURSOR": "s=1;i=2", "__REALTIME_TIMESTAMP": "1700000000123456", "MESSAGE": "hello"}


@given(st.dictionaries(st.sampled_from(FIELDS) | ANY, VALUES, max_size=8))
def test_an_entry_is_parsed_and_shown_or_is_none(odd: dict[str, object]) -> None:
    for data in (odd, USUAL | odd, USUAL | {"__REALTIME_TIMESTAMP": odd.get("MESSAGE", 10**30)}):
        entry = parse(json.dumps(data).encode(), "m", {"x.service": "x.service"}, all_fields=True)
        if entry is None:
            continue
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", format_short(entry))
        assert all(
            isinstance(each, str) for each in (entry.cursor, entry.message, entry.unit, *(entry.fields or ()))
        )
        shlex.join([entry.cursor]).encode("ascii")
        assert len(fields(entry)) == 10


@given(st.integers())
def test_a_time_that_no_clock_shows_is_no_entry(at: int) -> None:
    entry = parse(json.dumps(USUAL | {"__REALTIME_TIMESTAMP": str(at)}).encode(), "m")
    if entry is not None:
        format_short(entry)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_lines_are_cut_as_split_cuts_them(data: bytes, cuts: list[int]) -> None:
    lines, got, last = LineSplitter(keep_empty=True), [], 0
    for cut in [*sorted(cuts), len(data)]:
        got += lines.feed(data[last:cut])
        last = max(last, cut)
    assert got == data.split(b"\n")[:-1]


def test_a_long_line_in_tiny_pieces_is_not_copied_for_each_of_them() -> None:
    """Bytes that are copied grow with the line, not with its square: of half a million pieces in a moment."""
    lines = LineSplitter()
    for _ in range(500_000):
        lines.feed(b"x")
    assert lines.feed(b"\n") == [b"x" * 500_000]


@given(st.binary(max_size=400))
def test_a_complaint_of_a_machine_is_one_safe_line(data: bytes) -> None:
    assert_safe(first_line(data))
    assert_safe(remedy(first_line(data)))


@given(ANY | MIXED | st.text("\x1b[0;1m]8\x07\\ab\n", max_size=40))
def test_of_a_machines_text_colours_alone_are_obeyed(text: str) -> None:
    left = re.sub(r"\x1b\[[0-9;:]*m", "", escape_keeping_colours(text))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", left)


# Completion


@given(st.lists(ANY | MIXED, max_size=6))
def test_completion_offers_words_that_no_shell_obeys(names: list[str]) -> None:
    for each in plain(names):
        assert shlex.split(each.replace("\\", "\\\\")) == [each]
        assert not each.startswith("-")
