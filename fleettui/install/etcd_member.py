"""The registry's members: how each is configured, and how one is added or removed without losing the quorum.

A new member is announced as a learner: it counts for no quorum until it has everything and is promoted, so that an
interruption, or a host that does not start, takes nothing from those that run.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from fleettui.install.plan import client_url, peer_url
from registry.errors import RegistryError, UserError
from registry.etcd import Etcd, Member
from registry.etcd.admin import Admin
from registry.etcd.wire import Json, decode_done

PROMOTE_S = 60.0
SETTLE_S = 30.0
PLACE = "/run/fleet-etcd"


def environment(name: str, address: str, cluster: Mapping[str, str], fleet: str, *, new: bool) -> str:
    """The environment file of a member. `cluster` are all members' peer URLs by name, its own among them."""
    values = {
        "NAME": name,
        "LISTEN_CLIENT_URLS": f"{client_url(address)},{client_url('127.0.0.1')}",
        "ADVERTISE_CLIENT_URLS": client_url(address),
        "LISTEN_PEER_URLS": peer_url(address),
        "INITIAL_ADVERTISE_PEER_URLS": peer_url(address),
        "INITIAL_CLUSTER": ",".join(f"{each}={url}" for each, url in cluster.items()),
        "INITIAL_CLUSTER_STATE": "new" if new else "existing",
        "INITIAL_CLUSTER_TOKEN": f"fleet-{fleet}",
        "CERT_FILE": f"{PLACE}/server.pem",
        "KEY_FILE": f"{PLACE}/server.key",
        "TRUSTED_CA_FILE": f"{PLACE}/ca.pem",
        "CLIENT_CERT_AUTH": "true",
        "PEER_CERT_FILE": f"{PLACE}/peer.pem",
        "PEER_KEY_FILE": f"{PLACE}/peer.key",
        "PEER_TRUSTED_CA_FILE": f"{PLACE}/ca.pem",
        "PEER_CLIENT_CERT_AUTH": "true",
        "AUTO_COMPACTION_MODE": "periodic",
        "AUTO_COMPACTION_RETENTION": "1h",
        "QUOTA_BACKEND_BYTES": str(4 * 2**30),
        "LOG_LEVEL": "warn",
    }
    for key, value in values.items():
        if not re.fullmatch(r"[0-9A-Za-z_.:/,=\[\]-]*", value):
            raise UserError(f"{value!r} cannot be etcd's {key.lower()}; use letters, digits and _ . : / , = [ ] -")
    return "".join(f"ETCD_{key}={value}\n" for key, value in values.items())


class Members:
    """The members of the etcd that the client leads to. `at` makes a client of single endpoints."""

    def __init__(self, etcd: Etcd, at: Callable[[tuple[str, ...]], Etcd]) -> None:
        self._etcd, self._at = etcd, at

    async def all(self) -> tuple[Member, ...]:
        """All members, those that have not started yet as well."""
        return await self._etcd.member_list()

    async def announce(self, url: str) -> Member:
        """The member at this peer URL, announced as a learner if there is none."""
        deadline = time.monotonic() + SETTLE_S
        while (found := member_with(await self.all(), url)) is None:
            try:
                await self._ask("/cluster/member/add", {"peerURLs": [url], "isLearner": True})
            except RegistryError as error:
                # etcd takes no member before all have known one another for five seconds.
                if "unhealthy cluster" not in str(error) or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)
        return found

    async def promote(self, url: str) -> None:
        """Let a learner that has caught up count; one that counts already is left alone."""
        deadline = time.monotonic() + PROMOTE_S
        while (found := member_with(await self.all(), url)) is not None and found.learner:
            try:
                await self._ask("/cluster/member/promote", {"ID": str(found.id)})
            except RegistryError as error:
                if time.monotonic() > deadline:
                    raise RegistryError(
                        f"the new member did not catch up within {PROMOTE_S:g} s: {error}"
                    ) from error
                await asyncio.sleep(0.2)

    async def remove(self, url: str) -> None:
        """Take out the member at this peer URL, if there is one. UserError when the quorum would go."""
        if (found := await self.check_removal(url)) is not None:
            await Admin(self._etcd).remove_member(found.id)

    async def check_removal(self, url: str) -> Member | None:
        """The member at this peer URL, if it may be taken out. UserError when the quorum would go with it."""
        members = await self.all()
        found = member_with(members, url)
        if found is None:
            return None
        left = [each for each in members if each.id != found.id and not each.learner]
        answering = [each for each in left if await self._answers(each)]
        needed = len(left) // 2 + 1
        if not found.learner and len(answering) < needed:
            raise UserError(
                f"without this member {len(answering)} of {len(left)} members of the registry answer, and {needed}"
                " are needed; mend the others, or join another member first"
            )
        return found

    async def _answers(self, member: Member) -> bool:
        if not member.client_urls:
            return False
        async with self._at(member.client_urls) as etcd:
            try:
                return not (await etcd.status()).errors
            except RegistryError:
                return False

    async def _ask(self, path: str, request: Json) -> dict[str, Any]:
        return await self._etcd.link.call(path, request, _checked, repeatable=True)


def member_with(members: tuple[Member, ...], url: str) -> Member | None:
    """The member at this peer URL."""
    return next((each for each in members if url in each.peer_urls), None)


def _checked(answer: Json) -> dict[str, Any]:
    decode_done(answer)
    return dict(answer)
