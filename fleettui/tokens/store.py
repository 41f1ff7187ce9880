"""The tokens in the registry, beside the fleet's keys: made, claimed, revoked, and swept when they have run out.

    tokens/<id>                       the token, without its secret; root's alone
    requests/<id>/<digest>            what a host asks with it
    answers/<id>/<digest>             what it is answered (leased)
    parts/<id>/<digest>/<number>      what is too large for an answer (leased)
    results/<id>/<digest>             how it went, as the host says: nothing, or an error

A token is let in as a user of its own, which is deleted with it. A claim is written, guarded by the token's
revision, before anything is granted: so a token lets no more hosts in than it may, and an interruption is seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping

from fleettui.access.grants import Grants
from fleettui.tokens.record import Claim, Request, Token
from registry.errors import Conflict, UserError
from registry.etcd import Compare, Etcd, KeyValue, Op
from registry.keys import Keys
from registry.roles import Role, agent_of, joiner_of, user_of

KINDS = ("requests", "answers", "parts", "results")
ATTEMPTS = 5
PART_BYTES = 512 * 1024  # etcd refuses requests over 1.5 MB
GRACE_S = 3600  # for a host that was let in just before its token ran out


class TokenStore:
    """The tokens of the fleet below `keys`. The client is root's."""

    def __init__(self, etcd: Etcd, keys: Keys) -> None:
        self._etcd, self._keys = etcd, keys
        self.grants = Grants(etcd, keys)

    def prefixes(self, token: str) -> dict[str, str]:
        """Where what belongs to a token lies, by kind."""
        return {kind: self._keys.join(kind, token, "") for kind in KINDS}

    async def all(self) -> tuple[Token, ...]:
        """All tokens, by the time that they were made at."""
        found = await self._etcd.range(self._keys.join("tokens", ""))
        return tuple(sorted((_read(kv)[0] for kv in found.kvs), key=lambda each: each.created))

    async def get(self, token: str) -> Token:
        """A token by its id. UserError when there is none."""
        return (await self._get(token))[0]

    async def create(self, token: Token, password: str) -> None:
        """Let hosts ask with this token."""
        await self._etcd.put(self._keys.join("tokens", token.id), token.encode())
        await self.grants.grant(joiner_of(token.id), password)

    async def claim(self, token: str, request: Request, now: float, known: set[str]) -> str:
        """Use the token for this request, once; why that cannot be, or ""."""
        for _ in range(ATTEMPTS):
            found, revision = await self._get(token)
            if why := found.objection(request, now, known):
                return why
            if found.claim_of(request.digest):
                return ""
            claim = Claim(request.digest, request.facts.machine, request.facts.hostname, now)
            if await self._replace(found.with_claim(claim), revision):
                return ""
        raise Conflict(f"token {token} changes all the time; is another laptop at work with it? Try again")

    async def done(self, token: str, claim: Claim) -> None:
        """Keep in mind that the host of a claim has become a machine."""
        for _ in range(ATTEMPTS):
            found, revision = await self._get(token)
            done = Claim(claim.request, claim.machine, claim.hostname, claim.at, done=True)
            if await self._replace(found.with_claim(done), revision):
                return

    async def requests(self, token: str) -> AsyncGenerator[tuple[str, bytes], None]:
        """What is asked with a token, by name: what is there, then what comes, for ever."""
        async for kv in self._arriving(self._keys.join("requests", token, "")):
            yield kv.key.rpartition("/")[2], kv.value

    async def waiting(self, token: str) -> dict[str, bytes]:
        """What is asked with a token now and not answered yet, by name."""
        asked = await self._etcd.range(self._keys.join("requests", token, ""))
        prefix = self._keys.join("answers", token, "")
        answered = {kv.key for kv in (await self._etcd.range(prefix, keys_only=True)).kvs}
        named = {kv.key.rpartition("/")[2]: kv.value for kv in asked.kvs}
        return {name: value for name, value in named.items() if f"{prefix}{name}" not in answered}

    async def answer(self, token: Token, name: str, value: bytes, apart: Mapping[str, bytes], now: float) -> None:
        """Answer a request, after what is too large for that. All of it goes by itself when the token has."""
        lease = await self._etcd.lease_grant(max(60, int(token.expires - now)) + GRACE_S)
        for digest, content in apart.items():
            for number, start in enumerate(range(0, len(content), PART_BYTES)):
                key = self._keys.join("parts", token.id, digest, str(number))
                await self._etcd.put(key, content[start : start + PART_BYTES], lease)
        await self._etcd.put(self._keys.join("answers", token.id, name), value, lease)

    async def results(self, token: str, name: str) -> AsyncGenerator[str, None]:
        """What the host says of how it went: an error, for as long as it is one, then ""."""
        async for kv in self._arriving(self._keys.join("results", token, name)):
            yield kv.value.decode("utf-8", "replace")[:500]

    async def registered(self, machine: str) -> None:
        """Return when the machine has registered."""
        key = self._keys.machine(machine)
        async for kv in self._arriving(key):
            if kv.key == key:
                return

    async def revoke(self, token: str, *, machines: bool) -> tuple[str, ...]:
        """Delete a token with all that belongs to it; with `machines` also the users of hosts that never came.

        UserError when there is none.

        Return the names of those hosts. A host that waits is told by the registry, which knows it no more.
        """
        key = self._keys.join("tokens", token)
        kv = await self._etcd.get(key)
        if not await self.grants.revoke(joiner_of(token).name) and kv is None:
            raise UserError(f"no token {token}: it was used or revoked, or has run out; see: fleettui token list")
        claims: tuple[Claim, ...] = ()
        with contextlib.suppress(ValueError):  # one that cannot be read goes, too
            found = Token.decode(kv.value) if kv else None
            claims = found.claims if found and not found.machine else ()
        missing = []
        for claim in claims:
            told = await self._etcd.get(self._keys.join("results", token, claim.request))
            if claim.done or (told and not told.value) or await self._etcd.get(self._keys.machine(claim.machine)):
                continue
            missing.append(claim.hostname)
            if machines:
                await self.grants.revoke(agent_of(claim.machine).name)
        await self._etcd.txn([], [Op.delete_prefix(each) for each in self.prefixes(token).values()])
        await self._etcd.delete(key)
        return tuple(missing)

    async def sweep(self, now: float) -> tuple[str, ...]:
        """Delete what is left of tokens that have run out; the ids of those."""
        tokens = await self.all()
        living = {each.id for each in tokens if now < each.expires + GRACE_S * bool(each.claims)}
        users = (user_of(each, self._keys) for each in await self.grants.admin.roles())
        ids = {each.name.removeprefix("join-") for each in users if each and each.role is Role.JOINER}
        gone = tuple(sorted((ids | {each.id for each in tokens}) - living))
        for each in gone:
            with contextlib.suppress(UserError):  # another laptop was quicker
                await self.revoke(each, machines=False)
        return gone

    async def _get(self, token: str) -> tuple[Token, int]:
        kv = await self._etcd.get(self._keys.join("tokens", token))
        if kv is None:
            raise UserError(f"no token {token}: it was used or revoked, or has run out; see: fleettui token list")
        return _read(kv)

    async def _replace(self, token: Token, revision: int) -> bool:
        key = self._keys.join("tokens", token.id)
        done = await self._etcd.txn([Compare.mod(key, revision)], [Op.put(key, token.encode())])
        return done.succeeded

    async def _arriving(self, prefix: str) -> AsyncGenerator[KeyValue, None]:
        """Every key below a prefix, then every one that is written there."""
        listed = await self._etcd.range(prefix)
        for kv in listed.kvs:
            yield kv
        async with contextlib.aclosing(self._etcd.watch(prefix, listed.revision + 1)) as watch:
            async for batch in watch:
                for change in batch.changes:
                    if change.kv is not None:
                        yield change.kv


def _read(kv: KeyValue) -> tuple[Token, int]:
    try:
        return Token.decode(kv.value), kv.mod_revision
    except ValueError as error:
        name = kv.key.rpartition("/")[2]
        raise UserError(f"{kv.key}: {error}; delete it: fleettui token revoke {name}") from None
