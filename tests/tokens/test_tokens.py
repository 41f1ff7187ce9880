"""Tokens against a real etcd: the host's program runs in a thread; what it would run there is written down."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import itertools
import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fleettui.access.authority import names_of
from fleettui.access.exchange import Exchange
from fleettui.access.grants import Grants
from fleettui.install import archive
from fleettui.install.fleet_files import FleetFiles
from fleettui.tokens import commands, on_host
from fleettui.tokens.admission import pins
from fleettui.tokens.commands import token
from fleettui.tokens.record import Answer, Request
from fleettui.tokens.store import PART_BYTES
from registry.errors import FleetError
from registry.etcd import Etcd, EtcdSettings
from registry.etcd.admin import Admin
from registry.keys import Keys
from registry.model import Machine
from registry.records import encode
from registry.roles import Role, User, agent_of
from registry.sealing import new_key, raw_private
from tests.access.fleet import QUICK, tls_of
from tests.etcd_server import EtcdServer, available_versions

pytestmark = pytest.mark.etcd

KEYS = Keys()
M, N = "7aea1bb43c8d4b0e9d2f6f1a5a0c9e11", "0c9e117aea1bb43c8d4b0e9d2f6f1a5a"
BARE = """
echo "connection=$1"; echo uid=0; echo "now=$(date +%s)"; echo hostname=HOSTNAME; echo architecture=x86_64
echo machine=MACHINE; echo os=Debian; echo init=systemd; echo systemd=252; echo python=3.11; echo python3=3.11
for each in /opt /var/lib /etc; do echo "room=$each 9999999"; done
"""
REAL_RUN = subprocess.run


class Laptop:
    """A home with a fleet whose registry is this etcd."""

    def __init__(self, server: EtcdServer, files: FleetFiles, directory: Path) -> None:
        self.server, self.files, self.directory = server, files, directory
        self.numbers = itertools.count()

    def token(self, *words: str) -> int:
        return token([*words])

    def created(self, *flags: str) -> tuple[str, dict[str, Any]]:
        """A token: its id, and what its program holds."""
        path = self.directory / f"program-{next(self.numbers)}"
        assert self.token("create", "--out", str(path), *flags) == 0
        assert path.stat().st_mode & 0o777 == 0o600
        line = next(each for each in path.read_text().splitlines() if each.startswith("TOKEN = "))
        row: dict[str, Any] = json.loads(ast.literal_eval(line.removeprefix("TOKEN = ")))
        return row["id"], row

    async def _all(self) -> list[tuple[str, bytes]]:
        async with self.root() as etcd:
            return [(kv.key, kv.value) for kv in (await etcd.range("/")).kvs]

    def held(self) -> dict[str, bytes]:
        """Everything in the registry."""
        return dict(asyncio.run(self._all()))

    def root(self) -> Etcd:
        return Etcd(self.files.settings(self.server.endpoints, "root"))

    def users(self) -> set[str]:
        async def read() -> set[str]:
            async with self.root() as etcd:
                return {*(await Grants(etcd, KEYS).admin.users())}

        return asyncio.run(read())

    def put(self, key: str, value: bytes) -> None:
        async def write() -> None:
            async with self.root() as etcd:
                await etcd.put(key, value)

        asyncio.run(write())


class Host:
    """A host on which the program runs in a thread; what it would have run is in `ran`."""

    def __init__(self, directory: Path, hostname: str, machine: str) -> None:
        self.home, self.hostname, self.machine = directory / hostname, hostname, machine
        (self.home / "etc").mkdir(parents=True)
        self.facts = BARE.replace("HOSTNAME", hostname).replace("MACHINE", machine)
        self.ran: list[tuple[str, bytes]] = []
        self.said: list[str] = []
        self.ended = ""
        self.fails = ""
        self.comes: Callable[[], None] = lambda: None  # what its agent does when it has started
        self.thread: threading.Thread | None = None

    def run(self, row: dict[str, Any]) -> None:
        """All of the program; how it ended is in `ended`: "" for well."""
        HERE.host = self
        self.ended = "not yet"
        try:
            on_host.until_joined(json.loads(json.dumps(row)))
            self.comes()
            self.ended = ""
        except (on_host.Failed, on_host.Unreachable) as error:
            self.ended = str(error)

    def start(self, row: dict[str, Any]) -> None:
        self.thread = threading.Thread(target=self.run, args=(row,), daemon=True)
        self.thread.start()

    def end(self) -> str:
        assert self.thread
        self.thread.join(60)
        return self.ended


class Here(threading.local):
    """Which host a thread is."""

    host: Host


HERE = Here()


class PerHost:
    """A path of the module that is another one on each host."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __truediv__(self, other: str) -> Path:
        return HERE.host.home / self.name / other

    def mkdir(self, **_: object) -> None:
        pass

    def rmdir(self) -> None:
        pass


def of_the_host(command: list[str], **more: Any) -> subprocess.CompletedProcess[Any]:
    """What the program would run: facts are told, all the rest is written down."""
    host = HERE.host
    if command[2] == "facts":
        return REAL_RUN(["sh", "-c", host.facts, *command[3:]], **more)
    host.ran.append((command[2], more["input"]))
    if host.fails and host.fails in command[2]:
        return subprocess.CompletedProcess(command, 1, b"", b"it fails\nthe disk is full")
    return subprocess.CompletedProcess(command, 0, b"", b"")


@pytest.fixture(params=available_versions())
def laptop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    for name in [each for each in os.environ if each.startswith(("FLEET", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(logging, "disable", lambda _: None)
    files = FleetFiles(os.environ, "fleet")
    files.make()
    authority = files.authority()
    assert authority
    tls = tls_of(authority, tmp_path / "tls")
    large = tmp_path / "archive"
    large.write_bytes(os.urandom(PART_BYTES + 1000))
    monkeypatch.setattr(archive, "archive", lambda *_: large)
    monkeypatch.setattr(on_host, "FACTS", "facts")
    monkeypatch.setattr(on_host, "ETC", PerHost("etc"))
    monkeypatch.setattr(on_host, "PLACE", PerHost("place"))
    monkeypatch.setattr(subprocess, "run", of_the_host)
    monkeypatch.setattr(commands, "REGISTER_S", 2.0)
    monkeypatch.setattr(commands, "COME_S", 3.0)
    monkeypatch.setattr(on_host, "QUIET_S", 4.0)  # after which a host sees that its token is gone
    with EtcdServer(tmp_path / "etcd", request.param, tls=tls, flags=QUICK) as server:

        async def secure() -> None:
            async with Etcd(files.settings(server.endpoints)) as etcd:
                await Grants(etcd, KEYS).turn_on(files.password("root").read_text().strip())
                # a run of the fleet's own has another registry at each test, and users are on by now
            async with Etcd(files.settings(server.endpoints, "root")) as etcd:
                own = files.password(files.operator).read_text().strip()
                await Grants(etcd, KEYS).grant(User(files.operator, Role.OPERATOR), own)

        asyncio.run(secure())
        files.write_config(server.endpoints, "root")
        yield Laptop(server, files, tmp_path)


@pytest.fixture
def host(laptop: Laptop, tmp_path: Path) -> Host:
    host = Host(tmp_path, "core-4", M)
    host.comes = lambda: register(laptop, host)
    return host


@pytest.fixture
def other(laptop: Laptop, tmp_path: Path) -> Host:
    host = Host(tmp_path, "core-5", N)
    host.comes = lambda: register(laptop, host)
    return host


def until(what: Callable[[], object]) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def asks(laptop: Laptop, id_: str) -> Callable[[], bool]:
    return lambda: any(each.startswith(KEYS.join("requests", id_)) for each in laptop.held())


def register(laptop: Laptop, host: Host) -> None:
    """What its agent does when it has started."""
    laptop.put(KEYS.machine(host.machine), encode(Machine(host.machine, host.hostname, "127.0.0.1", "boot")))


def test_a_host_gets_all_that_it_needs_and_no_secret_is_ever_sent(
    laptop: Laptop, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    id_, row = laptop.created("--metadata", "disk=ssd")
    assert row["password"] not in "".join(capsys.readouterr())
    host.start(row)
    until(asks(laptop, id_))
    before = laptop.held()
    assert laptop.token("approve", id_, "--yes") == 0
    assert host.end() == ""
    etc = host.home / "etc"
    password, key = ((etc / name).read_text().strip() for name in ("agent.password", "client.key"))
    for value in {**before, **laptop.held()}.values():
        assert password.encode() not in value
        assert key.encode() not in value
    authority = laptop.files.authority()
    assert authority
    assert authority.signed((etc / "client.pem").read_bytes())
    assert names_of((etc / "client.pem").read_bytes()) == set()
    assert (etc / "client.key").stat().st_mode & 0o777 == 0o600
    assert (etc / "agent.password").stat().st_mode & 0o777 == 0o600
    ca, certificate, private = (str(etc / name) for name in ("ca.pem", "client.pem", "client.key"))
    settings = EtcdSettings(
        laptop.server.endpoints, ca, certificate, private, agent_of(M).name, str(etc / "agent.password")
    )

    async def as_agent() -> None:
        async with Etcd(settings) as etcd:
            await etcd.put(KEYS.state(M, "a.service"), b"")

    asyncio.run(as_agent())
    scripts = [script for script, _ in host.ran]
    assert any("compileall" in each for each in scripts)
    assert max(len(data) for _, data in host.ran) == PART_BYTES + 1000
    assert any(b'"disk" = "ssd"' in data for _, data in host.ran)
    assert not any(b"scheduler" in data for script, data in host.ran if "compileall" not in script)
    assert f"join-{id_}" not in laptop.users(), "a token that is used up is gone"
    assert not any("-joins/" in each for each in laptop.held())
    assert not (laptop.files.directory / "tokens" / id_).exists()


def test_a_used_token_lets_nobody_else_in(laptop: Laptop, host: Host, other: Host) -> None:
    id_, row = laptop.created()
    host.comes = lambda: None
    host.start(row)
    until(asks(laptop, id_))
    assert laptop.token("approve", id_, "--yes") == 1, "it has not registered"
    assert host.end() == ""
    other.start(row)
    until(lambda: len([each for each in laptop.held() if each.startswith(KEYS.join("requests", id_))]) == 2)
    assert laptop.token("approve", id_, "--yes") == 1
    assert "its token was used by core-4 already" in other.end()
    assert agent_of(N).name not in laptop.users()
    register(laptop, host)
    assert laptop.token("approve", id_, "--yes") == 0
    other.run(row)
    assert "does not know this token" in other.ended
    assert not other.ran


def test_two_hosts_may_share_a_token_that_is_good_for_two(laptop: Laptop, host: Host, other: Host) -> None:
    id_, row = laptop.created("--uses", "2")
    hosts = (host, other)
    for each in hosts:
        each.start(row)
    until(lambda: len([each for each in laptop.held() if each.startswith(KEYS.join("requests", id_))]) == 2)
    assert laptop.token("approve", id_, "--yes") == 0
    assert [each.end() for each in hosts] == ["", ""]
    passwords = {(each.home / "etc/agent.password").read_text() for each in hosts}
    assert len(passwords) == 2


def test_a_token_that_has_run_out_lets_nobody_in(
    laptop: Laptop, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "LEAST_S", 0)
    _, row = laptop.created("--ttl", "1s")
    time.sleep(1.5)
    host.run(row)
    assert "make another one: fleettui token create" in host.ended
    id_, row = laptop.created("--ttl", "60s")
    host.start(row)
    until(asks(laptop, id_))
    later = time.time() + 61

    class Clock:
        time = staticmethod(lambda: later)

    with monkeypatch.context() as patch:
        patch.setattr(commands, "time", Clock)
        assert laptop.token("approve", id_, "--yes") == 1, "swept, with all that it let in"
    assert "does not know this token" in host.end()
    assert f"join-{id_}" not in laptop.users()


def test_a_revoked_token_is_out_at_once_and_so_is_a_host_that_never_came(laptop: Laptop, host: Host) -> None:
    id_, row = laptop.created()
    host.start(row)
    until(asks(laptop, id_))
    assert laptop.token("revoke", id_) == 0
    assert "does not know this token" in host.end()
    id_, row = laptop.created()
    host.fails = "compileall"
    host.start(row)
    until(asks(laptop, id_))
    assert laptop.token("approve", id_, "--yes") == 1
    assert "the disk is full" in host.end()
    assert agent_of(M).name in laptop.users()
    assert laptop.token("revoke", id_) == 0
    assert agent_of(M).name not in laptop.users()
    assert laptop.token("list") == 0


def test_an_answer_from_anybody_else_is_not_obeyed(laptop: Laptop, host: Host) -> None:
    id_, row = laptop.created()
    host.start(row)
    until(asks(laptop, id_))
    digest = next(each for each in laptop.held() if each.startswith(KEYS.join("requests", id_))).rpartition("/")[2]
    task = {"does": "harm", "script": "rm -rf /", "arguments": [], "parts": 0, "data": ""}
    body = json.dumps({"refused": "", "certificate": "", "ca": "", "password": False, "tasks": [task]})
    forged = json.dumps({"body": body, "seal": "0" * 64}).encode()
    laptop.put(KEYS.join("answers", id_, digest), forged)
    assert host.end() == "the answer is not from whoever made this token; nothing was done"
    assert not host.ran


def test_no_token_takes_the_place_of_a_machine_but_one_that_names_it(laptop: Laptop, host: Host) -> None:
    register(laptop, host)
    id_, row = laptop.created()
    host.start(row)
    until(asks(laptop, id_))
    assert laptop.token("approve", id_, "--yes") == 1
    assert "its machine id is that of a machine of the fleet" in host.end()
    id_, row = laptop.created("--machine", "core-4")
    host.start(row)
    until(asks(laptop, id_))
    assert laptop.token("approve", id_, "--yes") == 0
    assert host.end() == ""


def test_a_host_is_not_pinned_as_another(laptop: Laptop) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA"
    facts = BARE.replace("HOSTNAME", "evil").replace("MACHINE", M)
    said = REAL_RUN(["sh", "-c", facts, "sh", "- - 10.0.0.1 -"], capture_output=True, text=True, check=True).stdout
    row = {"facts": said, "now": 0, "request": "", "exchange": "", "host_keys": [key, "evil\nother ssh-rsa AAAA"]}
    raw = json.dumps(row).encode()
    request = Request.read(hashlib.sha256(raw).hexdigest(), raw)
    assert list(pins(request, ())) == [f"evil,10.0.0.1 {key} {M}"]
    assert list(pins(request, (f"core-1,10.0.0.1 {key} {N}",))) == [f"evil {key} {M}"]
    assert list(pins(request, (f"evil,10.0.0.1 {key} {N}",))) == []
    assert laptop.token("revoke", "00000000") == 1
    for bad in (["revoke", "../x"], ["create", "--uses", "0"], ["approve"], ["list", "1f2e3d4c"]):
        with pytest.raises(SystemExit):
            token(bad)
    assert laptop.token("create", "--ttl", "25h") == 1
    assert laptop.token("create", "--machine", "nobody") == 1


def test_a_host_with_a_scheduler_is_refused_and_uses_no_token(laptop: Laptop, host: Host) -> None:
    usual = host.facts
    host.facts += f'echo "file={"0" * 64} /etc/systemd/system/fleet-scheduler.service"\n'
    id_, row = laptop.created()
    host.start(row)
    until(asks(laptop, id_))
    assert laptop.token("approve", id_, "--yes") == 1
    assert "it has a scheduler" in host.end()
    assert agent_of(M).name not in laptop.users()
    host.facts = usual
    host.start(row)
    until(lambda: len([each for each in laptop.held() if each.startswith(KEYS.join("requests", id_))]) == 2)
    assert laptop.token("approve", id_, "--yes") == 0
    assert host.end() == ""


def test_a_record_that_cannot_be_read_is_told_and_can_be_revoked(
    laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop.put(KEYS.join("tokens", "1f2e3d4c"), b"{}")
    assert laptop.token("list") == 1
    assert "delete it: fleettui token revoke 1f2e3d4c" in capsys.readouterr().err
    assert laptop.token("revoke", "1f2e3d4c") == 0
    assert laptop.token("list") == 0


def test_requests_that_are_none_are_told_and_left_alone(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    id_, _ = laptop.created()
    for name, value in (("0" * 64, b"{}"), ("x", b"\xff"), ("y", b"[" * 100_000), ("z\x1b", b"0" * 300_000)):
        laptop.put(KEYS.join("requests", id_, name), value)
    assert laptop.token("approve", id_, "--yes") == 0
    assert capsys.readouterr().err.count("is no request of a host") == 4
    assert not any(each.startswith("agent-") for each in laptop.users())


def test_the_laptop_is_interrupted_between_any_two_writes(
    laptop: Laptop, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off after one more of its writes at each attempt; then it goes on."""
    id_, row = laptop.created()
    host.start(row)
    until(asks(laptop, id_))
    left = 0

    def counted(real: Any) -> Any:
        async def call(self: Any, *arguments: Any, **more: Any) -> Any:
            nonlocal left
            left -= threading.current_thread() is threading.main_thread()
            if left < 0:
                raise FleetError("cut off")
            return await real(self, *arguments, **more)

        return call

    codes = []
    for allowed in range(40):
        left = allowed
        with monkeypatch.context() as patch:
            for owner, name in ((Etcd, "put"), (Etcd, "txn"), (Admin, "_ask")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            codes.append(laptop.token("approve", id_, "--yes"))
        if codes[-1] == 0:
            break
    assert codes[-1] == 0
    assert len(codes) > 8
    assert host.end() == ""
    assert agent_of(M).name in laptop.users()
    assert f"join-{id_}" not in laptop.users()


def test_the_host_is_interrupted_at_any_of_its_calls(
    laptop: Laptop, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is cut off after one more call at each run; it asks for the same each time."""
    id_, row = laptop.created()
    real = on_host.Registry._ask
    left = 0

    def ask(self: Any, path: str, request: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise on_host.Failed("cut off")
        return real(self, path, request)

    monkeypatch.setattr(on_host.Registry, "_ask", ask)
    approving = threading.Thread(target=lambda: None)
    for allowed in range(40):
        left = allowed
        host.start(row)
        if approving.ident is None and asks(laptop, id_)():
            approving = threading.Thread(target=laptop.token, args=("approve", id_, "--yes"))
            approving.start()
        if host.end() == "":
            break
        assert host.ended == "cut off"
    assert host.ended == ""
    approving.join(60)
    assert f"join-{id_}" not in laptop.users()


def test_a_token_of_another_laptop_cannot_be_approved_here(
    laptop: Laptop, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    id_, row = laptop.created()
    (laptop.files.directory / "tokens" / id_).unlink()
    host.start(row)
    until(asks(laptop, id_))
    assert laptop.token("approve", id_, "--yes") == 1
    assert f"the secret of token {id_} is not here" in capsys.readouterr().err
    assert laptop.token("revoke", id_) == 0
    assert "does not know this token" in host.end()


def test_the_key_for_secrets_reaches_the_sender_of_a_request_and_is_in_no_answer_as_it_is() -> None:
    ours, key, request = Exchange(), raw_private(new_key()), b"a request"
    theirs = X25519PrivateKey.generate()
    hidden = ours.hidden(theirs.public_key().public_bytes_raw(), request, key)
    shared = theirs.exchange(X25519PublicKey.from_public_bytes(ours.public))
    mask = on_host.derived(shared, request, on_host.SECRETS)
    assert bytes(one ^ two for one, two in zip(hidden, mask, strict=True)) == key
    body, _ = Answer(secrets_key=hidden).encode(1000)
    assert key.hex() not in body
