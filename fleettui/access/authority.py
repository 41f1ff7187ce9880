"""The fleet's certificate authority: a directory on the operator's disk, and the leaves that it issues.

Owns `~/.config/fleet/clusters/NAME/` (0700; every file in it 0600). `ca.pem` is what the whole fleet trusts: the
authority, and while it is being replaced the one before it as well. `authority.pem` signs: certificate and key in
one file, so that no interruption leaves a pair that does not fit.

A leaf is good for 90 days. etcd's members have one each, for servers and clients alike, since etcd's gateway dials
itself. A client's carries no common name: with users on, etcd takes one for a user and refuses it. Keys are of the
curve P-256. Basic constraints, key usage and key identifiers are set: Python 3.13 takes no authority without them.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry.errors import UserError

LEAF_LIFE, AUTHORITY_LIFE = datetime.timedelta(days=90), datetime.timedelta(days=3650)
LOOPBACK = ("127.0.0.1", "::1")
EARLIER = datetime.timedelta(hours=-1)  # clocks of hosts differ
TRUSTED, SIGNING = "ca.pem", "authority.pem"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate and its key, in PEM, and when it runs out (UTC)."""

    certificate: bytes
    key: bytes = field(repr=False)
    not_after: datetime.datetime


class Authority:
    """Issues certificates that the fleet trusts. Make it by `create` or `load`."""

    def __init__(self, directory: Path, key: ec.EllipticCurvePrivateKey, trusted: list[x509.Certificate]) -> None:
        self.directory = directory
        self._key = key
        self._trusted = trusted  # that which signs is the first

    @classmethod
    def create(cls, directory: Path, name: str) -> Authority:
        """The authority of the fleet `name` in this directory, made if there is none. UserError as `load`."""
        if (directory / SIGNING).exists():
            return cls.load(directory)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        except OSError as error:
            raise UserError(f"cannot make {directory} for the fleet's authority: {error.strerror}") from None
        made = cls(directory, *new_authority(name))
        made._save()
        return made

    @classmethod
    def load(cls, directory: Path) -> Authority:
        """The authority in this directory. UserError when there is none, or when others may read its key."""
        path = directory / SIGNING
        try:
            mode = path.stat().st_mode & 0o7777
            if mode & 0o077:
                raise UserError(
                    f"cannot use {path}: its mode is {mode:04o}, so that others may read the key of the fleet's"
                    f" authority; run: chmod 600 {path}"
                )
            text = path.read_bytes()
            key = serialization.load_pem_private_key(text, None)
            current = x509.load_pem_x509_certificate(text)
            trusted = x509.load_pem_x509_certificates((directory / TRUSTED).read_bytes())
        except FileNotFoundError as error:
            raise UserError(
                f"the fleet's authority is not here: {error.filename} is missing; run this where the fleet was"
                " made, or copy the directory from there"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"cannot use the fleet's authority in {directory}: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != current.public_key():
            raise UserError(f"{path}: its key is not that of its certificate; restore it from a backup")
        return cls(directory, key, [current, *(each for each in trusted if each != current)])

    @property
    def certificate_pem(self) -> bytes:
        """What everybody in the fleet has to trust: the content of every `ca_file`."""
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self._trusted)

    @property
    def not_after(self) -> datetime.datetime:
        """When the authority itself runs out (UTC)."""
        return self._trusted[0].not_valid_after_utc

    @property
    def replaced(self) -> bool:
        """Whether an earlier authority is still trusted beside this one."""
        return len(self._trusted) > 1

    def issue_server(self, hosts: Iterable[str]) -> Leaf:
        """A certificate of an etcd member, by which clients know it: its host names and addresses."""
        return self._issue(hosts)

    def issue_peer(self, hosts: Iterable[str]) -> Leaf:
        """A certificate of an etcd member for the other members."""
        return self._issue(hosts)

    def renew_server(self, old: bytes, address: str) -> Leaf:
        """Another certificate for the names of a member's old one. ValueError unless that is ours and its own.

        What lies on a host is its root's to choose: copied from another member, it would make this host that one.
        """
        names = names_of(old)
        if not any(_issued(old, each) for each in self._trusted):
            raise ValueError("it is not of the fleet's authority")
        addresses = {each for each in names if isinstance(_general_name(each), x509.IPAddress)}
        if others := sorted(addresses - {address, *LOOPBACK}):
            raise ValueError(f"it is for {others[0]}, not for {address}")
        return self._issue(sorted(names))

    def issue_client(self, life: datetime.timedelta = LEAF_LIFE) -> Leaf:
        """A certificate for a program or an operator: it opens etcd's port, and tells nobody who is there."""
        return self._issue((), life)

    def sign_client(self, request: bytes) -> bytes:
        """The certificate (PEM) for a client whose key stays where it was made. ValueError for a request (DER) that
        is none, or whose key is of another kind than ours.

        Nothing that the request says is taken but its key.
        """
        try:
            asked = x509.load_der_x509_csr(request)
            key = asked.public_key()
        except UnsupportedAlgorithm as error:
            raise ValueError(f"its key is of a kind that is not known: {error}") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("its key is not of the curve P-256")  # noqa: TRY004 - callers know one error
        if not asked.is_signature_valid:
            raise ValueError("it is not signed by its own key")
        return self._sign(key, (), LEAF_LIFE).public_bytes(serialization.Encoding.PEM)

    def signed(self, certificate: bytes) -> bool:
        """Whether a certificate (PEM) is of this very authority, not of an earlier one or of another fleet."""
        return _issued(certificate, self._trusted[0])

    def replace(self) -> Authority:
        """Begin a new authority, which signs from now on; this one stays trusted until `forget_earlier`.

        Everybody has to trust both before a leaf of the new one is shown: spread `certificate_pem` first.
        """
        name = self._trusted[0].subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
        key, trusted = new_authority(str(name))
        made = Authority(self.directory, key, trusted + self._trusted)
        made._save()
        return made

    def forget_earlier(self) -> None:
        """Trust this authority alone, once every leaf is of it."""
        del self._trusted[1:]
        self._save()

    def _save(self) -> None:
        """Write what is trusted first: an interruption leaves one trusted too many, and no pair broken."""
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        private = self._key.private_bytes(pem, form, serialization.NoEncryption())
        write_private(self.directory / TRUSTED, self.certificate_pem)
        write_private(self.directory / SIGNING, self._trusted[0].public_bytes(pem) + private)

    def _issue(
        self,
        hosts: Iterable[str],
        life: datetime.timedelta = LEAF_LIFE,
        begins: datetime.timedelta = EARLIER,
        common_name: str = "",
    ) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key.public_key(), hosts, life, begins, common_name)
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        private = key.private_bytes(pem, form, serialization.NoEncryption())
        return Leaf(certificate.public_bytes(pem), private, certificate.not_valid_after_utc)

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        hosts: Iterable[str],
        life: datetime.timedelta,
        begins: datetime.timedelta = EARLIER,
        common_name: str = "",
    ) -> x509.Certificate:
        issuer = self._trusted[0]
        subject = issuer.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        subject += [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        names = [_general_name(host) for host in hosts]
        builder = _builder(x509.Name(subject), issuer.subject, key, life, begins)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        usages = BOTH if names else (ExtendedKeyUsageOID.CLIENT_AUTH,)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _issued(certificate: bytes, by: x509.Certificate) -> bool:
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def runs_out(certificate: bytes) -> datetime.datetime:
    """When the first certificate of a PEM text runs out (UTC). ValueError for what is none."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def names_of(certificate: bytes) -> frozenset[str]:
    """The host names and addresses that a certificate (PEM) is for. ValueError for what is none."""
    extensions = x509.load_pem_x509_certificate(certificate).extensions
    try:
        return frozenset(
            str(each.value) for each in extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )
    except x509.ExtensionNotFound:
        return frozenset()


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that nobody ever sees half of it."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    new.replace(path)


def new_authority(
    name: str, life: datetime.timedelta = AUTHORITY_LIFE
) -> tuple[ec.EllipticCurvePrivateKey, list[x509.Certificate]]:
    """A key, and the certificate by which it is the authority of the fleet `name`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
            x509.NameAttribute(NameOID.COMMON_NAME, f"authority of the fleet {name}"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, os.urandom(8).hex()),  # the next one has a name of its own
        ]
    )
    builder = _builder(subject, subject, key.public_key(), life)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return key, [builder.sign(key, hashes.SHA256())]


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life: datetime.timedelta,
    begins: datetime.timedelta = EARLIER,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
