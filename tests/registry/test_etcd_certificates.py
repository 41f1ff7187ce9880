"""Certificates that change under running clients, and what cannot be used: cause and remedy in one line."""

from __future__ import annotations

import asyncio
import http.server
import logging
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import CredentialsUnusable, RegistryDenied, RegistryError, RegistryUnavailable, UserError
from registry.etcd import Etcd, EtcdSettings
from registry.etcd.endpoint import is_loopback
from tests.certificates import Authority
from tests.etcd_server import EtcdServer, Tls, make_tls, write_pair
from tests.registry.test_etcd_auth import secret

pytestmark = pytest.mark.etcd


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[EtcdServer]:
    """A server of the test's own that wants client certificates."""
    tls = make_tls(tmp_path / "tls", "127.0.0.1", require_client=True)
    with EtcdServer(tmp_path / "etcd", tls=tls) as server:
        yield server


def tls_of(server: EtcdServer) -> Tls:
    tls = server.members[0].tls
    assert tls
    return tls


def with_certificate(server: EtcdServer) -> EtcdSettings:
    tls = tls_of(server)
    return EtcdSettings(server.endpoints, str(tls.ca), str(tls.client_cert), str(tls.client_key))


async def test_a_rotation_of_authority_and_certificates_loses_no_client(strict: EtcdServer, tmp_path: Path) -> None:
    async with Etcd(with_certificate(strict)) as client:
        lease = await client.lease_grant(300)
        start = await client.put("k", b"1", lease)
        async with aclosing(client.watch("k", start)) as watch:
            assert (await anext(watch)).changes
            for round_ in range(2):
                make_tls(tmp_path / "tls", "127.0.0.1", require_client=True)
                await asyncio.to_thread(strict.stop)
                await strict.restart()
                assert await client.get("k")
                assert await client.lease_keepalive(lease) > 100
                revision = await client.put("k", b"2")
                async with asyncio.timeout(30):
                    while not (batch := await anext(watch)).changes:
                        pass
                assert batch.revision == revision, round_


async def test_only_connections_made_after_a_change_read_the_files(
    strict: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.etcd import tls

    made: list[EtcdSettings] = []
    make = tls.make_context

    def counted(settings: EtcdSettings) -> ssl.SSLContext:
        made.append(settings)
        return make(settings)

    monkeypatch.setattr(tls, "make_context", counted)
    async with Etcd(with_certificate(strict)) as client:
        for _ in range(20):
            await client.put("k", b"")
        assert len(made) == 1
        touched = tls_of(strict).client_key
        os.utime(touched)
        for _ in range(20):
            await client.put("k", b"")
        assert len(made) == 2


async def test_a_broken_new_file_is_told_once_and_the_old_one_used_until_it_is_whole(
    strict: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fleet")
    tls = tls_of(strict)
    whole = tls.client_key.read_bytes()
    async with Etcd(with_certificate(strict)) as client:
        await client.put("k", b"")
        tls.client_key.write_bytes(whole[:40])
        for _ in range(5):
            await client.put("k", b"")
        assert [each.levelname for each in caplog.records] == ["WARNING"]
        assert str(tls.client_key) in caplog.text
        tls.client_key.write_bytes(whole)
        await client.put("k", b"")
        assert "new connections use them" in caplog.text


def swap_key(tls: Tls) -> None:
    write_pair(tls.client_cert.with_name("spare.pem"), tls.client_key, Authority().issue())


def encrypt_key(tls: Tls) -> None:
    write_pair(tls.client_cert, tls.client_key, Authority().issue(passphrase=b"geheim"))


def empty_cert(tls: Tls) -> None:
    tls.client_cert.write_bytes(b"")


def open_key(tls: Tls) -> None:
    tls.client_key.chmod(0o640)


def no_key(tls: Tls) -> None:
    tls.client_key.unlink()


def directory_for_key(tls: Tls) -> None:
    tls.client_key.unlink()
    tls.client_key.mkdir()


def pipe_for_key(tls: Tls) -> None:
    tls.client_key.unlink()
    os.mkfifo(tls.client_key, 0o600)


def text_for_authority(tls: Tls) -> None:
    tls.ca.write_text("hello\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (swap_key, r"client_key\.pem is not the key of etcd\.cert_file .*client_cert\.pem"),
        (encrypt_key, r"key is encrypted .*openssl pkey"),
        (empty_cert, r"cert_file .*client_cert\.pem"),
        (open_key, r"key_file .*client_key\.pem: its mode is 0640.*chmod 600"),
        (no_key, r"key_file .*client_key\.pem: No such file"),
        (directory_for_key, r"key_file .*client_key\.pem: it is not a regular file"),
        (pipe_for_key, r"key_file .*client_key\.pem: it is not a regular file"),
        (text_for_authority, r"ca_file .*ca\.pem: it holds no certificate"),
    ],
)
async def test_a_file_of_ours_that_cannot_be_used_is_named_with_the_reason(
    strict: EtcdServer, spoil: object, said: str
) -> None:
    assert callable(spoil)
    spoil(tls_of(strict))
    async with Etcd(with_certificate(strict)) as client:
        with pytest.raises(CredentialsUnusable, match=said) as caught:
            await asyncio.wait_for(client.get("k"), 20)
    assert "\n" not in str(caught.value)


def test_an_encrypted_key_asks_nobody_at_the_terminal(tmp_path: Path) -> None:
    write_pair(tmp_path / "c.pem", tmp_path / "k.pem", Authority().issue(passphrase=b"geheim"))
    code = (
        "from registry.etcd.tls import make_context; from registry.etcd import EtcdSettings;"
        f"make_context(EtcdSettings(cert_file={str(tmp_path / 'c.pem')!r}, key_file={str(tmp_path / 'k.pem')!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"geheim\n", capture_output=True, timeout=60, check=False
    )
    assert b"the key is encrypted" in done.stderr
    assert b"Enter PEM" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("times", "hosts", "said"),
    [
        ((-48, -24), ("127.0.0.1",), "expired; renew it"),
        ((24, 48), ("127.0.0.1",), "not yet valid; .*check the clocks"),
        ((-1, 24), ("127.0.0.2",), "IP address mismatch.*; name etcd in the endpoint as its certificate does"),
    ],
)
async def test_a_certificate_of_etcd_that_is_not_good_is_told_with_the_remedy(
    tmp_path: Path, times: tuple[float, float], hosts: tuple[str, ...], said: str
) -> None:
    tls, authority = make_tls(tmp_path / "tls", "127.0.0.1"), Authority()
    tls.ca.write_bytes(authority.certificate_pem)
    write_pair(tls.cert, tls.key, authority.issue(*hosts, begins_h=times[0], ends_h=times[1]))
    with EtcdServer(tmp_path / "etcd", tls=tls) as server:
        async with Etcd(EtcdSettings(server.endpoints, ca_file=str(tls.ca))) as client:
            with pytest.raises(RegistryUnavailable, match=said):
                await client.get("k")


@pytest.mark.parametrize("kind", ["expired", "foreign"])
async def test_a_client_certificate_that_etcd_does_not_take_is_named(
    strict: EtcdServer, tmp_path: Path, kind: str
) -> None:
    tls = tls_of(strict)
    pair = Authority().issue(ends_h=24 if kind == "foreign" else -0.5)
    write_pair(tmp_path / "c.pem", tmp_path / "k.pem", pair)
    settings = EtcdSettings(strict.endpoints, str(tls.ca), str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    async with Etcd(settings) as client:
        with pytest.raises(RegistryUnavailable, match=r"does not take the client certificate .*c\.pem"):
            await client.get("k")


async def test_a_client_certificate_with_a_common_name_is_told_for_what_it_is(tmp_path: Path) -> None:
    authority = Authority()
    tls = make_tls(tmp_path / "tls", "127.0.0.1", require_client=True)
    tls.ca.write_bytes(authority.certificate_pem)
    write_pair(tls.cert, tls.key, authority.issue("127.0.0.1"))
    write_pair(tls.client_cert, tls.client_key, authority.issue(common_name="fleet"))
    with EtcdServer(tmp_path / "etcd", tls=tls, flags=["--bcrypt-cost=4"]) as server:
        settings = replace(
            with_certificate(server), username="fleet", password_file=secret(tmp_path / "password", "geheim")
        )
        async with Etcd(replace(settings, username=None, password_file=None)) as client:
            assert await client.put("k", b"")  # without users it does no harm
        _enable_users(server)
        async with Etcd(settings) as client:
            with pytest.raises(RegistryDenied, match=r"common name \(CN\).*cert_file without a CN"):
                await client.get("k")
            with pytest.raises(RegistryDenied, match=r"common name \(CN\)"):
                await asyncio.wait_for(anext(client.watch("k", 1)), 20)


def _enable_users(server: EtcdServer) -> None:
    from tests.etcd_server import tool

    tls, control = tls_of(server), tool("etcdctl")
    assert control
    base = [control, "--endpoints", server.endpoints[0], "--cacert", str(tls.ca)]
    base += ["--cert", str(tls.client_cert), "--key", str(tls.client_key)]
    steps = (["user", "add", "root:root"], ["user", "grant-role", "root", "root"], ["auth", "enable"])
    for step in steps:
        subprocess.run([*base, *step], check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"})


@pytest.mark.parametrize(
    ("endpoint", "refused"),
    [
        ("http://10.0.0.1:2379", True),
        ("http://etcd.example:2379", True),
        ("http://[2001:db8::1]:2379", True),
        ("10.0.0.1", True),
        ("http://127.1:2379", True),
        ("http://localhost.example:2379", True),
        ("https://10.0.0.1:2379", False),
        ("http://127.0.0.1:2379", False),
        ("http://127.8.8.8", False),
        ("http://localhost:2379", False),
        ("http://[::1]:2379", False),
    ],
)
def test_a_password_goes_over_no_network_in_clear(tmp_path: Path, endpoint: str, refused: bool) -> None:
    settings = EtcdSettings(
        ("https://10.0.0.9", endpoint), username="fleet", password_file=str(tmp_path / "password")
    )
    if refused:
        with pytest.raises(UserError, match=r"in clear.*https://") as caught:
            Etcd(settings)
        assert "\n" not in str(caught.value)
        Etcd(replace(settings, username=None))
    else:
        Etcd(settings)


@pytest.mark.parametrize("files", [{"ca_file": "ca.pem"}, {"cert_file": "c.pem", "key_file": "k.pem"}])
def test_files_of_tls_for_an_endpoint_without_it_are_a_mistake(files: dict[str, str]) -> None:
    settings = EtcdSettings(
        ("http://10.0.0.1",), files.get("ca_file"), files.get("cert_file"), files.get("key_file")
    )
    with pytest.raises(UserError, match=r"_file is set, yet .*http://10\.0\.0\.1:2379 is encrypted.*https://"):
        Etcd(settings)
    Etcd(replace(settings, endpoints=("10.0.0.1", "http://127.0.0.1")))
    with pytest.raises(UserError, match=r"key_file k\.pem is set without etcd\.cert_file"):
        Etcd(EtcdSettings(key_file="k.pem"))


def test_loopback_is_what_cannot_be_another_host() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "::ffff:127.0.0.1", "LOCALHOST", "localhost.")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::ffff:10.0.0.1", "fe80::1%lo", "127.0.0.1.example")))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o666, 0o777, 0o644])
async def test_a_password_file_for_others_is_refused_with_its_mode(tmp_path: Path, mode: int) -> None:
    path = secret(tmp_path / "password", "geheim")
    os.chmod(path, mode)  # noqa: PTH101
    async with Etcd(EtcdSettings(username="fleet", password_file=path)) as client:
        with pytest.raises(UserError, match=f"its mode is {mode:04o}.*chmod 600 {path}"):
            await client.get("k")


async def test_a_password_file_is_a_small_file_with_a_password(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    secret(tmp_path / "empty", "\n")
    secret(tmp_path / "huge", "x" * 100_000)
    for name, said in {
        "pipe": "not a regular file",
        "empty": "is empty",
        "huge": "too many",
        ".": "not a regular file",
        "a\0b": "not a path",
    }.items():
        async with Etcd(EtcdSettings(username="fleet", password_file=f"{tmp_path}/{name}")) as client:
            with pytest.raises(UserError, match=said):
                await asyncio.wait_for(client.get("k"), 10)


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (200, {}, b"<html>hello</html>", "HTTP 200 and no JSON: not an etcd"),
        (302, {"Location": "https://login.example/\x1b[2J"}, b"", "redirection to .*login.example"),
        (401, {}, b"", "wants a login of its own"),
        (404, {}, b"404 page not found", "HTTP 404 .*not an etcd"),
        (407, {}, b"", "a proxy"),
        (421, {}, b"", "--host-whitelist"),
        (502, {}, b"<html>", "reaches no etcd"),
        (504, {}, b"<html>", "reaches no etcd"),
        (500, {}, b"\xff\xfe", "HTTP 500 and no JSON"),
        (200, {}, b"{}", "none of etcd's"),
        (200, {}, b'{"status": "ok"}', "none of etcd's"),
        (200, {}, b"[]", "no JSON"),
        (200, {}, b"[" * 200_000, "no JSON"),
        (200, {}, b'{"header":{"revision":"' + b"9" * 5000 + b'"}}', "none of etcd's"),
        (200, {}, b'{"header":{"revision":"1"},"kvs":[{"key":5}]}', "none of etcd's"),
        (400, {}, b'{"error":"\\ud800\\u001b[2J","code":3}', "refused"),
    ],
    ids=map(str, range(16)),
)
async def test_whatever_else_stands_at_the_endpoint_is_told_in_one_line(
    status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    with answering(status, headers, body) as endpoint:
        async with Etcd(EtcdSettings((endpoint,))) as client:
            with pytest.raises(RegistryError, match=said) as caught:
                await client.get("k")
            assert str(caught.value).isprintable()
            with pytest.raises(RegistryError):
                await client.range("k")


@contextmanager
def answering(status: int, headers: dict[str, str], body: bytes) -> Iterator[str]:
    """A server that gives everybody the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
