"""From a host's request to our answer: the plan of a join, in which the host does what SSH would have done.

What concerns the registry and this laptop is done here: the certificate for the key that the host has made, the
user of its agent, its host keys. What concerns the host is put together and sent. All of it may be done again: a
request that was claimed and not answered is answered the same way, with the same password: both sides derive it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleettui.access.authority import Authority
from fleettui.access.exchange import Exchange
from fleettui.access.grants import Grants
from fleettui.access.secrets_key import make_keys
from fleettui.install import steps
from fleettui.install.archive import running
from fleettui.install.carry_out import TAKE_UP, Worksite
from fleettui.install.fleet_files import FleetFiles
from fleettui.install.join import fleet_facts, good_leaves, known_hosts_line
from fleettui.install.objections import objections
from fleettui.install.plan import JoinGoal, plan
from fleettui.install.steps import Stage, Step
from fleettui.tokens.record import Answer, HostTask, Request, Token
from fleettui.tokens.store import PART_BYTES, TokenStore
from registry.errors import UserError
from registry.keys import Keys
from registry.roles import agent_of
from registry.sealing import raw_private


@dataclass(slots=True, kw_only=True)
class AnswerSite(Worksite):
    """A worksite whose host is not reached: what would be run there is put into an answer."""

    request: Request
    exchange: Exchange
    authority: Authority
    answer: Answer = field(default_factory=Answer)
    _does: str = ""

    async def do(self, step: Step) -> None:
        """Do one step, or have the host do it. Raises FleetError."""
        self._does = step.does
        match step.act:
            case steps.PutCertificates():
                self.answer.certificate = self.authority.sign_client(self.request.certificate)
                await self.script(step.host, TAKE_UP)
            case steps.PutPassword(role="agent", machine=machine):
                password = self.exchange.password(self.request.exchange, self.request.raw)
                async with self.registry() as etcd:
                    await Grants(etcd, self.keys).grant(agent_of(machine), password)
                self.answer.password = True
            case steps.PutSecretsKey():
                key = raw_private(await asyncio.to_thread(make_keys, self.files.directory))
                self.answer.secrets_key = self.exchange.hidden(self.request.exchange, self.request.raw, key)
            case steps.AwaitMachine():
                pass
            case _:
                await super(AnswerSite, self).do(step)

    async def script(self, host: str, text: str, *arguments: str, data: bytes = b"", timeout_s: float = 0) -> str:
        """Have the host run a script, when it has its answer."""
        del host, timeout_s
        self.answer.tasks.append(HostTask(self._does, text, arguments, data))
        return ""


class Admission:
    """Answers what hosts ask with tokens of this laptop. `endpoints` are the registry's, for us."""

    def __init__(
        self,
        files: FleetFiles,
        store: TokenStore,
        keys: Keys,
        endpoints: tuple[str, ...],
        cache: Path,
    ) -> None:
        self._files, self._store, self._keys, self._endpoints = files, store, keys, endpoints
        self._cache = cache

    def exchange(self, token: str) -> Exchange:
        """Our half of a token's exchange. UserError where the token was not made here. Blocks."""
        try:
            return Exchange(bytes.fromhex(secret_file(self._files, token).read_text()))
        except (OSError, ValueError):
            raise UserError(
                f"the secret of token {token} is not here: approve it where it was made, or make another one here:"
                " fleettui token create"
            ) from None

    async def admit(self, token: Token, request: Request, now: float) -> str:
        """Let a host in, or refuse it; why it was refused, or "".

        Raises FleetError when neither could be done, ValueError for a request that no host of ours makes.
        """
        exchange = await asyncio.to_thread(self.exchange, token.id)
        site, stages, why = await self._planned(token, request, exchange, now)
        if not why:
            await site.carry_out(stages, lambda *_: None)
        answer = Answer(refused=why) if why else site.answer
        answer.ca = site.authority.certificate_pem
        body, apart = answer.encode(PART_BYTES)
        seal = exchange.seal(request.exchange, request.raw, body.encode())
        sealed = json.dumps({"body": body, "seal": seal}).encode()
        await self._store.answer(token, request.digest, sealed, apart, now)
        return why

    async def _planned(
        self, token: Token, request: Request, exchange: Exchange, now: float
    ) -> tuple[AnswerSite, tuple[Stage, ...], str]:
        """What is to be done, or why nothing is. Where something is, the token is used by then."""
        host = request.facts
        authority = await asyncio.to_thread(Authority.load, self._files.directory)
        authority.sign_client(request.certificate)  # before anything is done for one who asks for nonsense
        exchange.seal(request.exchange, request.raw, b"")
        fleet = await fleet_facts(self._files, self._endpoints, self._keys, [host])
        programs = await asyncio.to_thread(running)
        site = AnswerSite(
            self._files, {}, {host.name: host}, self._endpoints, self._keys, self._cache, users_on=fleet.users_on,
            programs=programs, request=request, exchange=exchange, authority=authority,
        )  # fmt: skip
        trusted = authority.certificate_pem
        against = objections([host], members=(), authority=trusted, machines=fleet.machines, etcd_architecture="")
        if against:
            return site, (), "; ".join(f"{each.what}; {each.remedy}" for each in against)
        users = await self._store.grants.admin.users()
        agents = {each.removeprefix("agent-") for each in users if each.startswith("agent-")}
        wanted = JoinGoal(
            fleet=self._files.name,
            version=programs.version,
            etcd="",
            members=(),
            operator=self._files.operator,
            units=programs.units,
            etcd_unit="",
            leaves=frozenset(good_leaves([host], authority, ())),
            metadata=token.metadata or None,
            keys=tuple(pins(request, fleet.known_hosts)),
            schedulers=0,  # a scheduler's password is worth every machine
        )
        stages = plan((host,), fleet, wanted)
        secrets = (step.act for stage in stages for step in stage.steps if isinstance(step.act, steps.PutPassword))
        if any(each.role != "agent" for each in secrets):
            return site, (), "it has a scheduler, and no token gives that another password; join it by SSH"
        why = await self._store.claim(token.id, request, now, {*agents, *fleet.machines})
        return site, () if why else stages, why


def pins(request: Request, known_hosts: Iterable[str]) -> Iterator[str]:
    """The host's keys as lines of known_hosts, without the name and the address that others have there.

    The host itself says what they are: no token lets it be taken for another.
    """
    host, taken = request.facts, {name for line in known_hosts for name in line.split(" ")[0].split(",")}
    free = replace(
        host,
        hostname="" if host.hostname in taken else host.hostname,
        address="" if host.address in taken else host.address,
    )
    if free.hostname or free.address:
        yield from (known_hosts_line(free, each) for each in request.host_keys)


def secret_file(files: FleetFiles, token: str) -> Path:
    """Where this laptop keeps its half of a token's exchange."""
    return files.directory / "tokens" / token
