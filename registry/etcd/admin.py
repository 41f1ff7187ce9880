"""etcd's own administration: users, roles and their ranges, members, alarms. For those who are `root` there.

What exists already, or is gone already, is no error: each method returns whether it changed something, so that what
was interrupted can be done again. Nothing here knows the fleet's keys or roles: `registry.roles` does. A password
is sent and never kept.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from typing import Any, NamedTuple

from registry.errors import RegistryDenied, RegistryError, UserError
from registry.etcd.client import Etcd
from registry.etcd.endpoint import is_loopback, parts_of
from registry.etcd.wire import ODD, Json, blob, decode_done, shown, span

ROOT = "root"
"""The user, and the role, that may do everything in etcd: without them users cannot be turned on."""


class KeyRange(NamedTuple):
    """Access (READ, WRITE or READWRITE) to one key, or to all from `key` up to (without) `end`."""

    access: str
    key: bytes
    end: bytes = b""

    @classmethod
    def of(cls, access: str, key: str, *, prefix: bool = False) -> KeyRange:
        """Access to a key, or with `prefix` to all keys that begin with it."""
        return cls(access, key.encode(), b64decode(span(key)["range_end"]) if prefix else b"")


class Alarm(NamedTuple):
    """An alarm of one member: NOSPACE, or CORRUPT."""

    member: int
    kind: str


class Admin:
    """The administration of the etcd that a client leads to."""

    def __init__(self, etcd: Etcd) -> None:
        self._link = etcd.link

    async def users_are_on(self) -> bool:
        """Whether etcd asks for users and passwords."""
        # 3.4 has no call that tells. A login as nobody says which it is, and costs no bcrypt.
        try:
            await self._ask("/auth/authenticate", {"name": "-", "password": ""})
        except RegistryDenied:
            return True
        except RegistryError as error:
            if "not enabled" in str(error):
                return False
            raise
        return True

    async def turn_users_on(self) -> bool:
        """Let nobody in without a user from now on. RegistryError while there is no root."""
        if await self.users_are_on():
            return False
        return await self._change("/auth/enable", {}, "already enabled")

    async def users(self) -> tuple[str, ...]:
        """The names of all users."""
        return _names(await self._ask("/auth/user/list", {}, "user name not found"), "users")

    async def roles_of(self, user: str) -> tuple[str, ...]:
        """The roles of a user; none for one that does not exist."""
        return _names(await self._ask("/auth/user/get", {"name": user}, "user name not found"), "roles")

    async def add_user(self, user: str, password: str) -> bool:
        """Make a user; False, with the password as it was, when there is one of this name."""
        self._check_way()
        return await self._change("/auth/user/add", {"name": user, "password": password}, "already exists")

    async def set_password(self, user: str, password: str) -> None:
        """Give a user another password; who is logged in as that user has to log in again."""
        self._check_way()
        await self._ask("/auth/user/changepw", {"name": user, "password": password})

    async def delete_user(self, user: str) -> bool:
        """Delete a user; who is logged in as that user is out at once."""
        return await self._change("/auth/user/delete", {"name": user}, "user name not found")

    async def give_role(self, user: str, role: str) -> None:
        """Make a user one of a role."""
        await self._ask("/auth/user/grant", {"user": user, "role": role})

    async def roles(self) -> tuple[str, ...]:
        """The names of all roles."""
        return _names(await self._ask("/auth/role/list", {}), "roles")

    async def add_role(self, role: str) -> bool:
        """Make a role without any right."""
        return await self._change("/auth/role/add", {"name": role}, "already exists")

    async def delete_role(self, role: str) -> bool:
        """Delete a role; its users keep their other ones."""
        return await self._change("/auth/role/delete", {"role": role}, "role name not found")

    async def ranges_of(self, role: str) -> tuple[KeyRange, ...]:
        """What a role may do; nothing for one that does not exist."""
        answer = await self._ask("/auth/role/get", {"role": role}, "role name not found")
        try:
            return tuple(
                KeyRange(
                    shown(str(raw.get("permType", "READ"))),
                    b64decode(raw["key"]),
                    b64decode(raw.get("range_end", "")),
                )
                for raw in answer.get("perm", ())
            )
        except ODD:
            raise RegistryError("etcd sent a role that is none of etcd's") from None

    async def set_ranges(self, role: str, wanted: Iterable[KeyRange]) -> bool:
        """Let a role have these ranges and no others: what is missing is granted before the rest is taken."""
        wanted = tuple(wanted)
        held = set(await self.ranges_of(role))
        fresh = [each for each in wanted if each not in held]
        spans = {(each.key, each.end) for each in wanted}
        surplus = [each for each in held if (each.key, each.end) not in spans]
        for each in fresh:
            perm = {"permType": each.access, "key": blob(each.key), "range_end": blob(each.end)}
            await self._ask("/auth/role/grant", {"name": role, "perm": perm})
        for each in surplus:
            await self._ask("/auth/role/revoke", {"role": role, "key": blob(each.key), "range_end": blob(each.end)})
        return bool(fresh or surplus)

    async def remove_member(self, member: int) -> bool:
        """Take a member out of the cluster, whether or not it runs."""
        return await self._change("/cluster/member/remove", {"ID": str(member)}, "member not found")

    async def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that are raised."""
        path, request = "/maintenance/alarm", {"action": "GET"}
        answer = await self._link.call(path, request, dict, repeatable=True)  # 3.4's has no header
        try:
            return tuple(
                Alarm(int(each.get("memberID", 0)), shown(str(each.get("alarm", "NONE"))))
                for each in answer.get("alarms", ())
            )
        except ODD:
            raise RegistryError("etcd sent an answer that is none of etcd's") from None

    def _check_way(self) -> None:
        """Refuse to send a password over a network in clear: nobody need be logged in for that."""
        for base in self._link.bases:
            if base.startswith("http:") and not is_loopback(parts_of(base)[1]):
                raise UserError(f"a password would go to {base} in clear: write the endpoint with https://")

    async def _change(self, path: str, request: Json, *done: str) -> bool:
        """Ask for a change; False when etcd says (in one of these words) that it is so already."""
        try:
            await self._ask(path, request)
        except RegistryError as error:
            if any(words in str(error) for words in done):
                return False
            raise
        return True

    async def _ask(self, path: str, request: Json, nothing: str = "\0") -> dict[str, Any]:
        """One call; {} when etcd refuses it with the words `nothing`. A change is never sent twice by itself."""
        try:
            return await self._link.call(path, request, _checked, repeatable=True)
        except RegistryError as error:
            if nothing in str(error):
                return {}
            raise


def _checked(answer: Json) -> dict[str, Any]:
    decode_done(answer)
    return dict(answer)


def _names(answer: Json, field: str) -> tuple[str, ...]:
    found = answer.get(field, ())
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()
