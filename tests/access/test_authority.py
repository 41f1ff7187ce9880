"""The fleet's authority: its files, what it issues, and a real etcd that goes by it."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleettui.access.authority import Authority, names_of, runs_out
from registry.errors import RegistryUnavailable, UserError
from registry.etcd import Etcd, EtcdSettings
from tests.access.fleet import settings_of, tls_of, write_leaf
from tests.etcd_server import EtcdServer, available_versions


def test_everything_is_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "clusters" / "prod"
    Authority.create(directory, "prod")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()} == {0o600}


def test_creating_it_twice_gives_the_same_one(tmp_path: Path) -> None:
    first = Authority.create(tmp_path, "prod")
    assert Authority.create(tmp_path, "other").certificate_pem == first.certificate_pem
    assert Authority.load(tmp_path).signed(first.issue_client().certificate)


def test_what_cannot_be_used_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"authority\.pem is missing; run this where the fleet was made"):
        Authority.load(tmp_path)
    Authority.create(tmp_path, "prod")
    (tmp_path / "authority.pem").chmod(0o644)
    with pytest.raises(UserError, match=r"mode is 0644.*chmod 600"):
        Authority.load(tmp_path)
    (tmp_path / "authority.pem").chmod(0o600)
    (tmp_path / "authority.pem").write_text("hello")
    with pytest.raises(UserError, match=r"cannot use the fleet's authority"):
        Authority.load(tmp_path)


@pytest.mark.parametrize(
    ("known", "odd", "reason"),
    [
        ("06072a8648ce3d0201", "06072a8648ce3d0277", "of a kind that is not known"),  # id-ecPublicKey
        ("06082a8648ce3d030107", "06082a8648ce3d030177", "of a kind that is not known"),  # P-256
        ("06082a8648ce3d040302", "06082a8648ce3d040377", "not signed by its own key"),  # ecdsa-with-SHA256
    ],
)
def test_a_request_with_algorithms_that_nobody_knows_is_refused(
    tmp_path: Path, known: str, odd: str, reason: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    der = asked.public_bytes(serialization.Encoding.DER)
    authority = Authority.create(tmp_path, "prod")
    assert authority.signed(authority.sign_client(der))
    with pytest.raises(ValueError, match=reason):
        authority.sign_client(der.replace(bytes.fromhex(known), bytes.fromhex(odd)))


def test_leaves_have_what_etcd_and_python_want(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "prod")
    server = x509.load_pem_x509_certificate(authority.issue_server(["10.0.0.1", "etcd-1", "::1"]).certificate)
    client = x509.load_pem_x509_certificate(authority.issue_client().certificate)
    usages = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} == set(usages)
    assert list(client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(map(str, names.get_values_for_type(x509.IPAddress))) == ["10.0.0.1", "::1"]
    assert names.get_values_for_type(x509.DNSName) == ["etcd-1"]
    for each in (server, client):
        assert not each.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        left = each.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        assert datetime.timedelta(days=89) < left <= datetime.timedelta(days=90)
        for kind in (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier, x509.KeyUsage):
            assert each.extensions.get_extension_for_class(kind).oid == kind.oid


def test_a_strict_verification_takes_it(tmp_path: Path) -> None:
    """As Python 3.13 and later verify by default."""
    authority = Authority.create(tmp_path, "prod")
    write_leaf(tmp_path, "server", authority.issue_server(["localhost"]))
    write_leaf(tmp_path, "client", authority.issue_client())
    for leaf, purpose in (("server", "sslserver"), ("client", "sslclient")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(tmp_path / "ca.pem")]
        subprocess.run([*command, str(tmp_path / f"{leaf}.pem")], check=True, capture_output=True)
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    for context, leaf in ((server, "server"), (client, "client")):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(tmp_path / "ca.pem")
        context.load_cert_chain(tmp_path / f"{leaf}.pem", tmp_path / f"{leaf}.key")
    server.verify_mode = ssl.CERT_REQUIRED
    assert _handshake(server, client) == "localhost"


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str | None:
    """Let two contexts meet in memory; raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname="localhost")
    theirs = server.wrap_bio(up, down, server_side=True)
    waiting = [ours, theirs]
    for _ in range(10):
        for each in list(waiting):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(each)
        if not waiting:
            break
    assert theirs.getpeercert()
    return ours.server_hostname


def test_a_new_authority_is_trusted_beside_the_old_one_until_that_is_forgotten(tmp_path: Path) -> None:
    old = Authority.create(tmp_path, "prod")
    leaf = old.issue_client().certificate
    new = old.replace()
    assert new.certificate_pem.count(b"BEGIN CERTIFICATE") == 2
    assert new.certificate_pem.endswith(old.certificate_pem)
    assert new.replaced
    assert not new.signed(leaf)
    assert new.signed(Authority.load(tmp_path).issue_client().certificate)
    new.forget_earlier()
    assert not Authority.load(tmp_path).replaced
    assert Authority.load(tmp_path).certificate_pem.count(b"BEGIN CERTIFICATE") == 1
    assert runs_out(new.certificate_pem) == new.not_after


def test_a_host_gets_another_certificate_for_its_own_names_alone(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ours", "prod")
    own = authority.issue_server(["10.0.0.1", "etcd-1", "localhost", "127.0.0.1"]).certificate
    assert names_of(authority.renew_server(own, "10.0.0.1").certificate) == names_of(own)
    assert names_of(authority.replace().renew_server(own, "10.0.0.1").certificate) == names_of(own)
    with pytest.raises(ValueError, match=r"it is for 10\.0\.0\.1, not for 10\.0\.0\.2"):
        authority.renew_server(own, "10.0.0.2")
    foreign = Authority.create(tmp_path / "foreign", "prod").issue_server(["10.0.0.2", "etcd-1"]).certificate
    for other in (foreign, b"hello"):
        with pytest.raises(ValueError, match=r"not of the fleet's authority|PEM"):
            authority.renew_server(other, "10.0.0.2")


@pytest.mark.etcd
@pytest.mark.parametrize("version", available_versions())
async def test_an_etcd_of_three_members_serves_who_shows_a_certificate_and_nobody_else(
    tmp_path: Path, version: str
) -> None:
    authority = Authority.create(tmp_path / "authority", "prod")
    tls = tls_of(authority, tmp_path / "tls", peers=True)
    server = await asyncio.to_thread(_started, EtcdServer(tmp_path / "etcd", version, members=3, tls=tls))
    try:
        async with Etcd(settings_of(server)) as etcd:
            await etcd.put("k", b"v")
            assert len(await etcd.member_list()) == 3
        foreign = Authority.create(tmp_path / "foreign", "foreign")
        pair = write_leaf(tmp_path, "foreign", foreign.issue_client())
        for cert, key in ((None, None), map(str, pair)):
            async with Etcd(EtcdSettings(server.endpoints, str(tls.ca), cert, key)) as etcd:
                calls = (etcd.get("k"), etcd.member_list(), etcd.status(), etcd.lease_grant(60))
                for answer in await asyncio.gather(*calls, return_exceptions=True):
                    assert isinstance(answer, RegistryUnavailable)
                    assert "client certificate" in str(answer)
    finally:
        server.close()


def _started(server: EtcdServer) -> EtcdServer:
    return server.__enter__()
