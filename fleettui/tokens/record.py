"""A token, what a host asks with it, and what it is answered: as values, and as bytes in the registry. Pure.

A token is good until a time, for a number of hosts, and, where it names a machine, for that one alone. What a host
asks is untrusted: it is read by the grammar of a join's facts, and known by the digest of its bytes.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fleettui.install.facts import HostFacts, parse

MOST_BYTES = 256 * 1024
MOST_KEYS = 8
HOST_KEY = re.compile(r"[a-z0-9][a-z0-9@.-]{0,63} [0-9A-Za-z+/]{16,16384}={0,2}")


@dataclass(frozen=True, slots=True)
class Claim:
    """A host that a token has let in: by which request, when (seconds since the epoch), and whether it has come."""

    request: str
    machine: str
    hostname: str
    at: float
    done: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. `machine` is "" for a token that lets new machines in."""

    id: str
    created: float
    expires: float
    uses: int
    by: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    claims: tuple[Claim, ...] = ()

    @property
    def lifetime(self) -> datetime.timedelta:
        """How long it lives in all."""
        return datetime.timedelta(seconds=self.expires - self.created)

    def encode(self) -> bytes:
        """The record."""
        rows = {name: getattr(self, name) for name in self.__slots__}
        claims = [{name: getattr(each, name) for name in Claim.__slots__} for each in self.claims]
        return json.dumps(rows | {"metadata": dict(self.metadata), "claims": claims}).encode()

    @classmethod
    def decode(cls, value: bytes) -> Token:
        """The token of a record. ValueError for what is none."""
        try:
            rows = dict(json.loads(value))
            claims = tuple(Claim(**each) for each in rows.pop("claims"))
            return cls(**rows, claims=claims)
        except (TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"it is no token: {error}") from None

    def claim_of(self, request: str) -> Claim | None:
        """The claim by which a request was let in."""
        return next((each for each in self.claims if each.request == request), None)

    def objection(self, request: Request, now: float, known: Iterable[str]) -> str:
        """Why the token does not let this host in, with a remedy; "" when it does. `known` are the fleet's ids."""
        if self.claim_of(request.digest):
            return ""
        another = "make another token: fleettui token create"
        if now >= self.expires:
            return f"its token has run out; {another}"
        if len(self.claims) >= self.uses:
            names = ", ".join(each.hostname for each in self.claims)
            return f"its token was used by {names} already; {another}, and see who that is"
        there = request.facts.machine in {*known, *(each.machine for each in self.claims)}
        if self.machine and request.facts.machine != self.machine:
            return f"its token is for machine {self.machine} alone; {another}"
        if there and not self.machine:
            return (
                "its machine id is that of a machine of the fleet; if it is that one, its token has to name it:"
                f" fleettui token create --machine {request.facts.machine}; if its disk is a clone:"
                " rm /etc/machine-id && systemd-machine-id-setup, then reboot"
            )
        return ""

    def with_claim(self, claim: Claim) -> Token:
        """The token, used once more, or with another state of the claim of the same request."""
        others = [each for each in self.claims if each.request != claim.request]
        return replace(self, claims=(*others, claim))


@dataclass(frozen=True, slots=True)
class Request:
    """What a host asks: to have its key certified. `digest` says which request it is, as the host prints it."""

    digest: str
    raw: bytes = field(repr=False)
    facts: HostFacts
    certificate: bytes = field(repr=False)  # PKCS #10, DER
    exchange: bytes  # the host's public half
    host_keys: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The host in a few words, which are its own."""
        return f"{self.facts.hostname} ({self.facts.address}, {self.facts.os}), machine {self.facts.machine}"

    @classmethod
    def read(cls, name: str, raw: bytes) -> Request:
        """The request under this name. ValueError for what none of our hosts asks."""
        if len(raw) > MOST_BYTES:
            raise ValueError(f"it has {len(raw)} bytes")
        digest = hashlib.sha256(raw).hexdigest()
        if digest != name:
            raise ValueError("it is not what its name says")
        try:
            said: dict[str, Any] = dict(json.loads(raw))
            at = float(said["now"])
            facts = parse("", str(said["facts"]), at, at)
            certificate, exchange = (
                base64.b64decode(said[each], validate=True) for each in ("request", "exchange")
            )
            keys = [str(each) for each in said["host_keys"]]
        except (KeyError, TypeError, RecursionError, binascii.Error, OverflowError) as error:
            raise ValueError(f"it cannot be read: {error!r}") from None
        if not facts.machine or not facts.hostname or not facts.address:
            raise ValueError("it does not say which machine asks")
        good = tuple(each for each in keys if HOST_KEY.fullmatch(each))[:MOST_KEYS]
        return cls(digest, raw, replace(facts, name=facts.hostname), certificate, exchange, good)


@dataclass(frozen=True, slots=True)
class HostTask:
    """One thing that a host has to do: a script of its sh, as in a join over SSH. Its data may lie elsewhere."""

    does: str
    script: str
    arguments: tuple[str, ...] = ()
    data: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class Answer:
    """What a host is told: why not, or everything that makes a machine of it."""

    refused: str = ""
    ca: bytes = b""
    certificate: bytes = b""  # none: the one that it has is good
    password: bool = False  # whether it has to take the one that both sides derive
    secrets_key: bytes = b""  # what it opens secrets with, hidden by what both sides derive; none: it has it
    tasks: list[HostTask] = field(default_factory=list)

    def encode(self, large: int) -> tuple[str, dict[str, bytes]]:
        """The text, and what of it has `large` bytes or more, by its digest."""
        apart: dict[str, bytes] = {}
        tasks = []
        for each in self.tasks:
            row: dict[str, Any] = {"does": each.does, "script": each.script, "arguments": each.arguments}
            digest = hashlib.sha256(each.data).hexdigest()
            if len(each.data) >= large:
                apart[digest] = each.data
                row |= {"sha256": digest, "parts": -(-len(each.data) // large), "data": ""}
            else:
                row |= {"parts": 0, "data": base64.b64encode(each.data).decode()}
            tasks.append(row)
        rows = {
            "refused": self.refused,
            "ca": self.ca.decode(),
            "certificate": self.certificate.decode(),
            "password": self.password,
            "secrets_key": self.secrets_key.hex(),
            "tasks": tasks,
        }
        return json.dumps(rows), apart
