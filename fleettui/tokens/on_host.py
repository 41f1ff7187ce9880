#!/usr/bin/env python3
"""Makes a machine of a fleet of the host that it runs on, as root: python3 FILE, or python3 - <FILE.

Needs Python 3.11 with OpenSSL 3, and the way to the fleet's registry; no login, no package index. It makes the
host's own keys, which never leave it, asks to be let in, waits for the answer, and obeys it if it is from whoever
made the token: what is proved by a key that both derive (`fleettui.access.exchange`). Interrupted, run it again.

It is text that `fleettui token create` copies, and imports nothing of ours. The copy holds a secret.
"""

from __future__ import annotations

import sys

try:
    import base64
    import contextlib
    import ctypes
    import fcntl
    import hashlib
    import hmac
    import http.client
    import json
    import os
    import shutil
    import ssl
    import subprocess
    import time
    import urllib.parse
    from pathlib import Path
except ImportError as error:
    sys.exit(f"error: this host's Python lacks {error.name}: apt-get install python3")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

TOKEN = "{}"  # noqa: S105 - each copy has its own
FACTS = ""
PLACE = Path("/var/lib/fleet-join")  # outlives a reboot; gone when the host is a machine
ETC = Path("/etc/fleet")
CONNECT_S, QUIET_S, SCRIPT_S = 10.0, 20.0, 300.0
PASSWORD, ANSWER, SECRETS = b"fleet agent password", b"fleet answer", b"fleet secrets key"


class Failed(Exception):
    """It cannot go on; the text says why and what to do."""


class TokenRefused(Failed):
    """This token is of no use here: what was kept for it may go."""


class Unreachable(Exception):
    """No member of the registry answers; it may later."""


class Crypto:
    """OpenSSL, by the library that Python's own ssl uses."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcrypto.so.3")
        except OSError:
            raise Failed("there is no libcrypto.so.3 here: apt-get install libssl3, or use Debian 12") from None

    def key_and_request(self) -> tuple[bytes, bytes]:
        """A new key of the curve P-256 and a certificate request for it that names nobody, both in DER."""
        key = self._made("EVP_PKEY_Q_keygen", None, None, b"EC", b"P-256")
        request = self._made("X509_REQ_new")
        self._do("X509_REQ_set_version", request, ctypes.c_long(0))
        self._do("X509_REQ_set_pubkey", request, key)
        self._do("X509_REQ_sign", request, key, self._made("EVP_sha256"))
        return self._der("i2d_PrivateKey", key), self._der("i2d_X509_REQ", request)

    def public(self, private: bytes) -> bytes:
        """The public half of 32 private bytes (X25519)."""
        key = self._made("EVP_PKEY_new_raw_private_key_ex", None, b"X25519", None, private, ctypes.c_size_t(32))
        return self._filled("EVP_PKEY_get_raw_public_key", key)

    def shared(self, private: bytes, other: bytes) -> bytes:
        """What both sides of an exchange have, and nobody else."""
        mine, theirs = (
            self._made(f"EVP_PKEY_new_raw_{kind}_key_ex", None, b"X25519", None, half, ctypes.c_size_t(32))
            for kind, half in (("private", private), ("public", other))
        )
        context = self._made("EVP_PKEY_CTX_new", mine, None)
        self._do("EVP_PKEY_derive_init", context)
        self._do("EVP_PKEY_derive_set_peer", context, theirs)
        return self._filled("EVP_PKEY_derive", context)

    def _made(self, name: str, *arguments: object) -> ctypes.c_void_p:
        function = getattr(self._library, name)
        function.restype = ctypes.c_void_p
        found = function(*arguments)
        if not found:
            raise Failed(f"OpenSSL refuses {name}")
        return ctypes.c_void_p(found)

    def _do(self, name: str, *arguments: object) -> int:
        function = getattr(self._library, name)
        function.restype = ctypes.c_int
        found = int(function(*arguments))
        if found <= 0:
            raise Failed(f"OpenSSL refuses {name}")
        return found

    def _der(self, name: str, what: ctypes.c_void_p) -> bytes:
        buffer = ctypes.create_string_buffer(self._do(name, what, None))
        self._do(name, what, ctypes.byref(ctypes.c_void_p(ctypes.addressof(buffer))))
        return buffer.raw

    def _filled(self, name: str, what: ctypes.c_void_p) -> bytes:
        buffer, size = ctypes.create_string_buffer(32), ctypes.c_size_t(32)
        self._do(name, what, buffer, ctypes.byref(size))
        return buffer.raw[: size.value]


def derived(shared: bytes, request: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose: HKDF with SHA-256 (RFC 5869), one block."""
    key = hmac.new(hashlib.sha256(request).digest(), shared, hashlib.sha256).digest()
    return hmac.new(key, purpose + b"\x01", hashlib.sha256).digest()


class Registry:
    """The fleet's etcd, as the user that the token is, by its JSON gateway."""

    def __init__(self, token: dict[str, Any], place: Path) -> None:
        self._token, self._session, self.now = token, "", 0
        self._context = ssl.create_default_context(cadata=token["ca"])
        write(place / "token.pem", (token["certificate"] + token["key"]).encode(), 0o600)
        self._context.load_cert_chain(place / "token.pem")
        (place / "token.pem").unlink()

    def put(self, kind: str, name: str, value: bytes) -> None:
        """Write a key of the token's."""
        self._call("kv/put", {"key": self._key(kind, name), "value": text(value)})

    def get(self, kind: str, name: str) -> tuple[bytes | None, int]:
        """A key of the token's, and the revision of the registry that it is from."""
        answer = self._call("kv/range", {"key": self._key(kind, name)})
        revision = int(answer["header"]["revision"])
        return next((base64.b64decode(each["value"]) for each in answer.get("kvs", ())), None), revision

    def wait(self, kind: str, name: str, revision: int) -> None:
        """Return when a key may have changed since a revision: at once when it does, and every 20 s."""
        asked = {"create_request": {"key": self._key(kind, name), "start_revision": str(revision + 1)}}
        try:
            with self._opened(self._token["endpoints"][0], "watch", asked, QUIET_S) as answer:
                while line := answer.readline():
                    if b'"events"' in line or b'"error"' in line or b'"canceled"' in line:
                        return
        except TimeoutError:
            return
        except (OSError, http.client.HTTPException):
            time.sleep(1)

    def _key(self, kind: str, name: str) -> str:
        return text((self._token["keys"][kind] + name).encode())

    def _call(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """One call at the first member that answers. Raises Failed for what no waiting mends, else Unreachable."""
        for _ in range(2):
            if not self._session:
                login = {"name": self._token["user"], "password": self._token["password"]}
                answer = self._ask("auth/authenticate", login)
                if "token" not in answer:
                    raise TokenRefused(
                        f"the registry does not know this token: it was used or revoked, or has run out"
                        f" ({wrong(answer)}); make another one: fleettui token create"
                    )
                self._session = answer["token"]
            answer = self._ask(path, request)
            if "header" in answer:
                return answer
            self._session = ""
        raise Failed(f"the registry refuses: {wrong(answer)}; make another token: fleettui token create")

    def _ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        endpoints, reasons = self._token["endpoints"], []
        for number, base in enumerate(list(endpoints)):
            try:
                with self._opened(base, path, request, CONNECT_S) as answer:
                    found = json.loads(answer.read())
            except ssl.SSLCertVerificationError as error:
                raise Failed(f"{base} is not the fleet's registry ({error.verify_message}), or this host's clock"
                             f" is wrong: it says {time.ctime()}") from None  # fmt: skip
            except (OSError, http.client.HTTPException, ValueError) as error:
                if "ALERT" in str(error):  # of TLS: a member refuses our certificate
                    raise TokenRefused(f"{base} does not let this token in any more ({error}); make another one:"
                                 " fleettui token create") from None  # fmt: skip
                reasons.append(f"{base}: {error}")
                continue
            endpoints.insert(0, endpoints.pop(number))
            return dict(found)
        raise Unreachable("; ".join(reasons))

    @contextlib.contextmanager
    def _opened(
        self, base: str, path: str, request: dict[str, Any], quiet_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        where = urllib.parse.urlsplit(base)
        link = http.client.HTTPSConnection(
            where.hostname or "", where.port, timeout=CONNECT_S, context=self._context
        )
        try:
            link.connect()
            link.sock.settimeout(quiet_s)
            self.address = str(link.sock.getsockname()[0])
            headers = {"Authorization": self._session} if self._session else {}
            try:
                link.request("POST", f"/v3/{path}", json.dumps(request), headers)
            except OSError:
                link.sock.recv(1)  # why it was closed, where that has arrived
                raise
            answer = link.getresponse()
            date = answer.getheader("Date")
            self.now = int(http_date(date)) if date else 0
            yield answer
        finally:
            link.close()


def http_date(date: str) -> float:
    """Seconds since the epoch of a header; 0 for what is none."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - beside the point elsewhere

    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0


def text(value: bytes) -> str:
    """Bytes as etcd's gateway has them."""
    return base64.b64encode(value).decode()


def wrong(answer: dict[str, Any]) -> str:
    """What etcd complains of, as one line."""
    said = str(answer.get("error") or answer.get("message") or "it does not say why")
    return "".join(each if each.isprintable() else "?" for each in said)[:200]


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that nobody ever sees half of it, nor anybody else a secret."""
    new = path.with_name(f".{path.name}.fleet-new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def asked(place: Path, crypto: Crypto, registry: Registry) -> bytes:
    """What this host asks for: the same at each run, since an answer is good for one request alone."""
    path = place / "request"
    if not path.exists():
        key, request = crypto.key_and_request()
        exchange = os.urandom(32)
        encoded = base64.encodebytes(key).decode()
        pem = f"-----BEGIN EC PRIVATE KEY-----\n{encoded}-----END EC PRIVATE KEY-----\n"
        write(place / "client.key", pem.encode(), 0o600)
        write(place / "exchange", exchange, 0o600)
        registry.get("answers", "-")  # by which it is known where the registry sees us, and its clock
        connection = f"- - {registry.address} -"
        facts = subprocess.run(["sh", "-c", FACTS, "sh", connection], capture_output=True, check=False)
        keys = [each.read_text("utf-8", "replace") for each in sorted(Path("/etc/ssh").glob("*.pub"))]
        asks = {
            "facts": facts.stdout.decode("utf-8", "replace"),
            "now": registry.now,
            "request": text(request),
            "exchange": text(crypto.public(exchange)),
            "host_keys": [" ".join(each.split()[:2]) for each in keys],
        }
        write(path, json.dumps(asks).encode(), 0o600)
    return path.read_bytes()


def answered(registry: Registry, name: str) -> dict[str, Any]:
    """The answer to a request, when it comes."""
    while True:
        found, revision = registry.get("answers", name)
        if found is not None:
            return dict(json.loads(found))
        registry.wait("answers", name, revision)


def parts(registry: Registry, digest: str, number: int) -> bytes:
    """What is too large for an answer."""
    found = b"".join(registry.get("parts", f"{digest}/{each}")[0] or b"" for each in range(number))
    if hashlib.sha256(found).hexdigest() != digest:
        raise Failed("what the registry holds for this host is not whole; run the same again, or make a new token")
    return found


def obey(registry: Registry, answer: dict[str, Any], place: Path, password: str, secrets_key: bytes) -> None:
    """Do everything that the answer says. Raises Failed."""
    tasks = answer["tasks"]
    inputs = [
        parts(registry, each["sha256"], each["parts"]) if each["parts"] else base64.b64decode(each["data"])
        for each in tasks
    ]
    ETC.mkdir(exist_ok=True)
    write(ETC / "ca.pem", answer["ca"].encode(), 0o644)
    if answer["certificate"]:
        write(ETC / "client.key", (place / "client.key").read_bytes(), 0o600)
        write(ETC / "client.pem", answer["certificate"].encode(), 0o644)
    if answer["password"]:
        write(ETC / "agent.password", f"{password}\n".encode(), 0o600)
    if secrets_key:
        write(ETC / "secrets.key", b"fleet-secrets-key-1 " + base64.b64encode(secrets_key) + b"\n", 0o600)
    for task, data in zip(tasks, inputs):  # noqa: B905 - an older Python has to be able to say that it is too old
        began = time.monotonic()
        command = ["sh", "-c", task["script"], "sh", "- - - -", *task["arguments"]]
        try:
            done = subprocess.run(command, input=data, capture_output=True, timeout=SCRIPT_S, check=False)
        except subprocess.TimeoutExpired:
            raise Failed(f"{task['does']}: it did not end within {SCRIPT_S:g} s; run the same again") from None
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise Failed(f"{task['does']}: {' | '.join(lines[-4:])}; mend it, then run the same again")
        print(f"{task['does']} ({time.monotonic() - began:.1f} s)", flush=True)


def forget(place: Path) -> None:
    """Delete what was kept for a token."""
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):
        PLACE.rmdir()


def join(token: dict[str, Any], place: Path) -> None:
    """From asking to being a machine. Raises Failed, Unreachable, OSError for what is wrong here."""
    crypto, registry = Crypto(), Registry(token, place)
    request = asked(place, crypto, registry)
    name = hashlib.sha256(request).hexdigest()
    shared = crypto.shared((place / "exchange").read_bytes(), base64.b64decode(token["exchange"]))
    registry.put("requests", name, request)
    print(f"asked to join the fleet {token['fleet']}, as {name[:12]}; waiting to be let in", flush=True)
    sealed = answered(registry, name)
    body = sealed["body"].encode()
    seal = hmac.new(derived(shared, request, ANSWER), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(seal, sealed["seal"]):
        raise Failed("the answer is not from whoever made this token; nothing was done")
    answer = json.loads(body)
    if answer["refused"]:
        raise TokenRefused(answer["refused"])  # whatever was wrong may be mended: the next request is another one
    password = base64.urlsafe_b64encode(derived(shared, request, PASSWORD)[:24]).decode()
    hidden = bytes.fromhex(answer.get("secrets_key", ""))
    mask = derived(shared, request, SECRETS)
    secrets_key = bytes(one ^ two for one, two in zip(hidden, mask))  # noqa: B905 - as above
    try:
        obey(registry, answer, place, password, secrets_key)
    except Failed as error:
        with contextlib.suppress(Unreachable, Failed):
            registry.put("results", name, str(error).encode())
        raise
    with contextlib.suppress(Unreachable, Failed):  # it is a machine, whoever hears of it
        registry.put("results", name, b"")
    forget(place)
    print(f"this host is a machine of the fleet {token['fleet']}", flush=True)


def until_joined(token: dict[str, Any]) -> None:
    """Join, alone on this host, and again while the registry does not answer, for as long as the token lives."""
    place = PLACE / token["id"]
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(place / "lock", "w") as lock:  # noqa: PTH123
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("it is running here already") from None
        deadline = time.monotonic() + token["ttl"]
        while True:
            try:
                try:
                    return join(token, place)
                except Unreachable as error:
                    if time.monotonic() > deadline or time.time() > token["expires"]:
                        raise TokenRefused(
                            f"this token has run out ({error}); make another one: fleettui token create"
                        ) from None
                    print(f"waiting for the registry: {error}", flush=True)
                    time.sleep(3)
            except TokenRefused:
                forget(place)
                raise


def main() -> int:
    """Run to an exit code."""
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 - it is copied to where others may be
            raise Failed("Python 3.11 or newer is needed: use Debian 12 or Ubuntu 24.04")
        if os.geteuid():
            raise Failed("only root can make a machine of this host: run it with sudo")
        until_joined(json.loads(TOKEN))
    except (Failed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the same again: it goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
