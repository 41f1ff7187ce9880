"""TLS against a real etcd: what is refused, and that the text says why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from registry.errors import RegistryUnavailable, UserError
from registry.etcd import Etcd, EtcdSettings
from tests.etcd_server import EtcdServer, available_versions, make_tls

pytestmark = pytest.mark.etcd


@pytest.fixture(scope="module", params=available_versions())
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    directory = tmp_path_factory.mktemp("secure")
    tls = make_tls(directory / "tls", "127.0.0.1", "localhost")
    with EtcdServer(directory, request.param, tls=tls) as server:
        yield server


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A server that wants client certificates."""
    directory = tmp_path_factory.mktemp("strict")
    tls = make_tls(directory / "tls", "127.0.0.1", require_client=True)
    with EtcdServer(directory, tls=tls) as server:
        yield server


def trusting(server: EtcdServer, *endpoints: str) -> EtcdSettings:
    assert server.members[0].tls
    return EtcdSettings(endpoints or server.endpoints, ca_file=str(server.members[0].tls.ca))


async def test_a_certificate_of_our_authority_is_taken(secure: EtcdServer, prefix: str) -> None:
    bare = f"localhost:{secure.members[0].client_port}"
    async with Etcd(trusting(secure, bare)) as client:
        start = await client.put(f"{prefix}k", b"1")
        batch = await asyncio.wait_for(anext(client.watch(prefix, start)), 5)
        assert [change.key for change in batch.changes] == [f"{prefix}k"]


async def test_a_certificate_for_another_host_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("elsewhere")
    with EtcdServer(directory, tls=make_tls(directory / "tls", "etcd.example")) as server:
        async with Etcd(trusting(server)) as client:
            with pytest.raises(
                RegistryUnavailable, match=r"TLS certificate is not valid for host 127\.0\.0\.1"
            ) as caught:
                await client.put("k", b"")
        assert "may have happened" not in str(caught.value)


async def test_an_unknown_authority_is_refused(secure: EtcdServer) -> None:
    async with Etcd(EtcdSettings(secure.endpoints)) as client:
        with pytest.raises(RegistryUnavailable, match=r"TLS certificate is not valid .*issuer"):
            await client.get("k")


async def test_the_wrong_scheme_is_told_with_the_remedy(secure: EtcdServer, etcd: EtcdServer) -> None:
    async with Etcd(EtcdSettings((secure.endpoints[0].replace("https", "http"),))) as client:
        with pytest.raises(RegistryUnavailable, match="write the endpoint with https://"):
            await client.get("k")
    async with Etcd(EtcdSettings((etcd.endpoints[0].replace("http", "https"),))) as client:
        with pytest.raises(RegistryUnavailable, match="write the endpoint with http://"):
            await client.get("k")


async def test_a_client_certificate_is_shown_where_it_is_wanted(strict: EtcdServer) -> None:
    async with Etcd(trusting(strict)) as client:
        with pytest.raises(RegistryUnavailable, match=r"set etcd\.cert_file"):
            await client.get("k")
    tls = strict.members[0].tls
    assert tls
    settings = EtcdSettings(strict.endpoints, str(tls.ca), str(tls.client_cert), str(tls.client_key))
    async with Etcd(settings) as client:
        assert await client.put("k", b"") > 0


@pytest.mark.parametrize("path", ["/nonexistent.pem", __file__])
async def test_a_certificate_file_that_cannot_be_used_is_named(path: str) -> None:
    endpoints = ("https://127.0.0.1:1",)
    for option, broken in {
        "ca_file": EtcdSettings(endpoints, ca_file=path),
        "cert_file": EtcdSettings(endpoints, cert_file=path),
    }.items():
        async with Etcd(broken) as client:
            with pytest.raises(UserError, match=rf"etcd\.{option} {path}"):
                await client.get("k")
