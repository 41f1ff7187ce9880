"""Files that units need beside their own: from a real HTTP server, with a systemd in memory."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from agentd import artifacts
from registry.errors import UserError
from registry.units.artifacts import Artifact, artifacts_of
from registry.units.check import verify
from tests.agentd.machine import NAME, FakeMachine, machine
from tests.certificates import Authority
from tests.file_server import Server

CONTENT = os.urandom(300_000)
SHA = sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(CONTENT) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.gate.set()
        found.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "PAUSE_S", (0.01, 0.05))
    monkeypatch.setattr(artifacts, "PUSHED_S", 0.02)


def text(*lines: str) -> str:
    asked = "".join(f"Artifact={each}\n" for each in lines)
    return f"[Service]\nExecStart=/run/fleet/artifacts/%n/server\n[X-Fleet]\n{asked}"


def error(on: FakeMachine, name: str = NAME) -> str:
    state = on.reconciler.table.state(name)
    return state.error if state else ""


async def test_it_is_fetched_once_for_all_and_linked_before_the_start(tmp_path: Path, server: Server) -> None:
    async with machine(tmp_path) as on:
        names = [f"web@{number}.service" for number in range(5)]
        for name in names:
            on.want(name, text(f"{server.url('/server-1.2')} sha256={SHA} name=server"))
        for name in names:
            await on.launched(name)
        assert server.asked == [("/server-1.2", "")]
        kept = tmp_path / "artifacts" / SHA
        assert kept.read_bytes() == CONTENT
        assert kept.stat().st_mode & 0o777 == 0o755
        assert all((tmp_path / "run/artifacts" / name / "server").readlink() == kept for name in names)
        on.want(names[0], text(f"{server.url('/elsewhere')} sha256={SHA} name=server"), generation=2)
        await on.until(lambda: on.entry(names[0]).generation == 2)
        await on.launched(names[0])
        on.withdraw(names[1])
        await on.gone(names[1])
        assert len(server.asked) == 1  # the same, from another place
        assert not (tmp_path / "run/artifacts" / names[1]).exists()
        kept.unlink()  # by somebody else; a restart has it again
        on.want(names[2], text(f"{server.url('/server-1.2')} sha256={SHA} name=server"), generation=2)
        await on.until(lambda: on.entry(names[2]).generation == 2 and on.systemd.runs(names[2]))
        assert kept.read_bytes() == CONTENT


async def test_what_runs_goes_on_until_its_next_version_is_there_and_others_are_not_held_up(
    tmp_path: Path, server: Server
) -> None:
    async with machine(tmp_path) as on:
        on.want(NAME, "[Service]\nExecStart=/bin/old\n")
        await on.launched()
        server.gate.clear()
        on.want(NAME, text(f"{server.url()} sha256={SHA}"), generation=2)
        await on.until(lambda: server.asked)
        on.want("other.service", "[Service]\nExecStart=/bin/other\n")
        await on.launched("other.service")
        assert f"stop {NAME}" not in on.log
        server.gate.set()
        await on.until(lambda: on.entry().generation == 2)
        await on.launched()
        assert (tmp_path / "run/artifacts" / NAME / "server").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "status", "expected", "asked"),
    [
        ("/server", 404, "cannot fetch its artifact server from 127.0.0.1:{port}: status 404", 1),
        ("/server", 503, "cannot fetch its artifact server from 127.0.0.1:{port}: status 503", 3),
        ("/other", 0, "has the sha256 {other}..., and not {sha}... as its file says", 1),
        ("/to/ftp://127.0.0.1/x", 0, "it leads to ftp://, where nothing is fetched from", 3),
        ("/to//to//server", 0, "", 0),
    ],
)  # fmt: skip
async def test_a_failure_is_told_with_its_reason_and_mended_by_itself(
    tmp_path: Path, server: Server, path: str, status: int, expected: str, asked: int
) -> None:
    server.status[path] = status
    wanted = f"{server.url(path)} sha256={SHA} name=server"
    other = sha256(b"another").hexdigest()[:12]
    async with machine(tmp_path) as on:
        on.want(NAME, text(wanted))
        if not expected:
            await on.launched()
            return
        told = expected.format(port=server.server_port, other=other, sha=SHA[:12])
        await on.until(lambda: told in error(on))
        state = on.reconciler.table.state(NAME)
        assert state
        assert state.target == "launched"  # it was tried, and has failed: a rollout sees that
        assert len(server.asked) >= asked
        assert f"start {NAME}" not in on.log
        assert [each.name for each in (tmp_path / "artifacts").iterdir()] == []
        (tmp_path / "artifacts" / SHA).write_bytes(CONTENT)  # as a push would
        await on.launched()
        assert not error(on)


async def test_one_that_is_pushed_is_waited_for(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want(NAME, text(f"sha256={SHA} name=server"))
        await on.until(lambda: "bring it with fleetctl push" in error(on))
        store = tmp_path / "artifacts"
        store.mkdir()
        (store / SHA).write_bytes(CONTENT)
        await on.launched()


async def test_an_interrupted_fetch_is_resumed_and_rubbish_begun_again(tmp_path: Path, server: Server) -> None:
    server.cut["/server"] = 1
    wanted = text(f"{server.url()} sha256={SHA}")
    async with machine(tmp_path) as on:
        on.want(NAME, wanted)
        await on.launched()
        assert server.asked == [("/server", ""), ("/server", f"bytes={len(CONTENT) // 2}-")]
    (tmp_path / "artifacts" / SHA).unlink()
    (tmp_path / "artifacts" / f".{SHA}.part").write_bytes(b"x" * 1000)  # an agent was killed, and the file changed
    server.asked.clear()
    again = tmp_path / "again"
    again.mkdir()
    (tmp_path / "artifacts").rename(again / "artifacts")
    async with machine(again) as on:
        on.want(NAME, wanted)
        await on.launched()
        assert server.asked == [("/server", "bytes=1000-"), ("/server", "")]
        assert [each.name for each in (again / "artifacts").iterdir()] == [SHA]


async def test_room_is_made_of_what_no_unit_names_and_what_finds_none_says_so(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "artifacts"
    store.mkdir()
    old, unused = store / ("1" * 64), store / ("2" * 64)
    for path, age_s in ((old, 90.0), (unused, 60.0)):
        path.write_bytes(b"x" * 500_000)
        os.utime(path, (time.time() - age_s,) * 2)
    async with machine(tmp_path) as on:  # 1 MiB is allowed
        on.want(NAME, text(f"{server.url()} sha256={SHA}"))
        await on.launched()
        assert sorted(each.name for each in store.iterdir()) == sorted([unused.name, SHA])
        free = shutil.disk_usage(store)._replace(free=artifacts.SPARE_BYTES + 10)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
        on.want("other.service", text(f"{server.url('/other')} sha256={sha256(b'another').hexdigest()} name=more"))
        await on.launched("other.service")
        on.want("third.service", text(f"{server.url()} sha256={'3' * 64}"))
        await on.until(lambda: "has 300000 bytes, and the disk of" in error(on, "third.service"))


async def test_a_full_disk_fails_the_unit_alone_and_leaves_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with machine(tmp_path) as on:
        with monkeypatch.context() as patched:
            patched.setattr(artifacts, "_write", full)
            on.want(NAME, text(f"{server.url()} sha256={SHA}"))
            await on.until(lambda: "No space left on device" in error(on))
            assert not list((tmp_path / "artifacts").iterdir())
        await on.launched()


async def test_a_server_is_known_by_its_certificate(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    both, trusted = tmp_path / "server.pem", tmp_path / "ca.pem"
    both.write_bytes(b"".join(authority.issue("127.0.0.1")))
    trusted.write_bytes(authority.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    async with machine(tmp_path) as on:
        on.want(NAME, text(f"{server.url(scheme='https')} sha256={SHA}"))
        await on.until(lambda: "certificate" in error(on))
        assert not server.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        await on.launched()


def test_what_may_be_asked_for() -> None:
    assert artifacts_of(text(f"https://x.org/a/server-%i sha256={SHA}"), "web@7.service") == (
        Artifact(SHA, "server-7", "https://x.org/a/server-7"),
    )
    assert artifacts_of("[Service]\nExecStart=/bin/true\n", NAME) == ()
    assert not verify(NAME, text(f"sha256={SHA} name=server"), NAME)
    data = text(f"sha256={SHA} name=data")
    assert "too old" in str(verify(NAME, data, NAME))
    assert not verify(NAME, "[Unit]\nAssertPathExists=%t/fleet/artifacts/%n/data\n" + data, NAME)
    container = f"[Container]\nImage=localhost/web\n[X-Fleet]\nArtifact=sha256={SHA} name=data\n"
    assert "too old" in str(verify("web.container", container, "web.container"))
    container = f"[Unit]\nAssertPathExists=%t/fleet/artifacts/%n/data\n{container}"
    assert not verify("web.container", container, "web.container")
    for wrong, reason in {
        f"https://x.org/a sha256={SHA[:-1]}": "64 hex digits",
        f"ftp://x.org/a sha256={SHA}": "no http:// or https:// address",
        f"https://ann:secret@x.org/a sha256={SHA}": "has a login",
        f"https://x.org/ sha256={SHA}": "no name of a file",
        f"https://x.org/a sha256={SHA} name=../../etc/passwd": "no name of a file",
        f"https://x.org/a sha256={SHA} mode=0755": "none of sha256= and name=",
        f"sha256={SHA}": "no name of a file",
    }.items():
        with pytest.raises(UserError, match=reason):
            artifacts_of(text(wrong), NAME)
        assert any(reason in str(each) for each in verify(NAME, text(wrong), NAME))


async def test_nobody_who_gives_up_takes_a_fetch_from_the_others(tmp_path: Path, server: Server) -> None:
    server.gate.clear()
    async with machine(tmp_path) as on:
        for name in (NAME, "other.service"):
            on.want(name, text(f"{server.url()} sha256={SHA}"))
        await on.until(lambda: server.asked)
        on.withdraw()
        await on.gone()
        server.gate.set()
        await on.launched("other.service")
        assert len(server.asked) == 1
        await asyncio.sleep(0)


async def test_what_fails_is_tried_again_after_its_pause_and_not_for_other_units_sake(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "PAUSE_S", (600.0, 600.0))
    server.status["/server"] = 404
    async with machine(tmp_path) as on:
        on.want(NAME, text(f"{server.url()} sha256={SHA}"))
        await on.until(lambda: "status 404" in error(on))
        for number in range(5):
            on.want(f"web@{number}.service", "[Service]\nExecStart=/bin/other\n")
            await on.launched(f"web@{number}.service")
        assert len(server.asked) == 1
        server.status.clear()
        on.want(NAME, text(f"{server.url()} sha256={SHA}"), attempt=1)  # an operator's start does not wait
        await on.launched()
