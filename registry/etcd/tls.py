"""TLS towards etcd: the context for new connections, made again when one of its files changes, and what failed.

Owns the checks of our own files and the words for what the other side's certificate lacks. Connections that are
open go on with what they were made with. A changed file that cannot be used is told once; new connections then go
on with what was read before, so that a rotation may write its files in any order.
"""

from __future__ import annotations

import logging
import ssl

from registry.errors import CredentialsUnusable
from registry.etcd import credentials
from registry.etcd.connections import plain
from registry.etcd.endpoint import EtcdSettings, base_urls

log = logging.getLogger("fleet.etcd")

REMEDIES = {  # by OpenSSL's verify codes (x509_vfy.h): what to do about etcd's certificate
    9: "it is not valid yet: check the clocks of both hosts",
    10: "renew it on etcd's host, or check the clock of this one",
    18: "set etcd.ca_file to the authority that signed it",
    19: "set etcd.ca_file to the authority that signed it",
    20: "set etcd.ca_file to the authority that signed it",
    21: "set etcd.ca_file to the authority that signed it",
    62: "name etcd in the endpoint as its certificate does, or issue one for this name",
    64: "name etcd in the endpoint as its certificate does, or issue one for this address",
    79: "etcd.ca_file holds a certificate that is no authority: set it to the one that signed etcd's",
    92: "issue the authority with key usage keyCertSign (Python 3.13 and later insist on it)",
}
ALERTS = (
    "certificate required",
    "bad certificate",
    "certificate expired",
    "certificate unknown",
    "certificate revoked",
    "unsupported certificate",
    "unknown ca",
    "access denied",
)


class Encrypted(Exception):
    """OpenSSL asked for the passphrase of a key."""


class TlsFiles:
    """The context that new connections are made with."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        wanted = settings.wants_tls or any(base.startswith("https:") for base in base_urls(settings))
        self._context: ssl.SSLContext | None = None
        self._wanted = wanted
        self._paths: tuple[str | None, ...] = ()
        if wanted:
            system = None if settings.ca_file else ssl.get_default_verify_paths().cafile
            self._paths = (settings.ca_file or system, settings.cert_file, settings.key_file)
        self._stamp: credentials.Stamp = ()

    def context(self) -> ssl.SSLContext | bool:
        """The context for a connection that begins now; True without TLS. Raises CredentialsUnusable."""
        if not self._wanted:
            return True
        stamp = credentials.stamp(
            self._paths
        )  # before the files are read: what changes meanwhile is seen next time
        if self._context is None:
            self._context, self._stamp = make_context(self._settings), stamp
        elif stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = make_context(self._settings)
            except CredentialsUnusable as error:
                log.warning("%s; new connections to etcd go on with what was read before", error)
            else:
                log.info("etcd's TLS files have changed; new connections use them")
        return self._context


def make_context(settings: EtcdSettings) -> ssl.SSLContext:
    """A context that checks certificate and host name. CredentialsUnusable names the file, why, and the remedy."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise CredentialsUnusable(f"cannot use etcd.ca_file {settings.ca_file}: {_pem(error)}") from None
    if settings.cert_file:
        _load_pair(context, settings.cert_file, settings.key_file)
    return context


def _load_pair(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    option, path = ("etcd.key_file", key_file) if key_file else ("etcd.cert_file", cert_file)
    try:
        with open(cert_file, "rb"):  # noqa: PTH123 - so that the error names the right one of the two
            pass
    except (OSError, ValueError) as error:
        raise CredentialsUnusable(f"cannot use etcd.cert_file {cert_file}: {_pem(error)}") from None
    if key_file or _holds_key(cert_file):
        credentials.check_private(path, option)
    try:
        context.load_cert_chain(cert_file, key_file, _no_passphrase)
    except Encrypted:
        raise CredentialsUnusable(
            f"cannot use {option} {path}: the key is encrypted and nobody is there to type a passphrase; write it"
            f" without one: openssl pkey -in {path} -out FILE, then chmod 600 FILE"
        ) from None
    except (OSError, ValueError) as error:
        raise CredentialsUnusable(_pair_problem(error, cert_file, key_file)) from None


def _holds_key(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return b"PRIVATE KEY-----" in file.read(credentials.MOST_BYTES)
    except OSError:
        return False


def _pair_problem(error: Exception, cert_file: str, key_file: str | None) -> str:
    if "KEY_VALUES_MISMATCH" in str(error) or "KEY_TYPE_MISMATCH" in str(error):
        return f"etcd.key_file {key_file} is not the key of etcd.cert_file {cert_file}: set a pair"
    if not key_file:
        return (
            f"cannot use etcd.cert_file {cert_file}: {_pem(error)}, or the key is elsewhere: then set etcd.key_file"
        )
    return f"cannot use etcd.cert_file {cert_file} with etcd.key_file {key_file}: {_pem(error)}"


def _no_passphrase() -> str:
    raise Encrypted


def not_trusted(error: Exception, host: str) -> str:
    """What is wrong with the certificate that etcd has shown, and what to do about it."""
    reason = getattr(error, "verify_message", "") or plain(error)
    remedy = REMEDIES.get(getattr(error, "verify_code", 0), "")
    return f"TLS certificate is not valid for host {host}: {reason}" + (f"; {remedy}" if remedy else "")


def alert(error: BaseException, cert_file: str | None) -> str:
    """What etcd has against our certificate, "" when it is something else."""
    text = str(error).lower().replace("_", " ")
    said = next((each for each in ALERTS if each in text), "")
    if not said:
        return ""
    if not cert_file:
        return "wants a valid client certificate: set etcd.cert_file and etcd.key_file"
    return (
        f"does not take the client certificate etcd.cert_file {cert_file} ({said}): it must be of an authority that"
        f" etcd trusts, not expired, and for clients; see: openssl x509 -in {cert_file} -noout -text"
    )


def _pem(error: Exception) -> str:
    if not isinstance(error, ssl.SSLError):
        return plain(error)
    if "NO_CERTIFICATE_OR_CRL_FOUND" in str(error) or "NO_START_LINE" in str(error) or "PEM lib" in str(error):
        return "it holds no certificate or key in PEM format"
    return plain(error)
