"""Who is who in the fleet's etcd: its users, each with the role that `registry.roles` says, and users turned on.

Owns the order: a role has all its rights before a user has the role, and every user has a role before users are
turned on. What was interrupted is done again; what is done already is left as it is. The client is root's, or
anybody's while users are off.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from registry.errors import UserError
from registry.etcd import Etcd
from registry.etcd.admin import ROOT, Admin, KeyRange
from registry.keys import Keys
from registry.model import Sentinel
from registry.roles import User, rights, stem, user_of
from registry.sync.sentinel import ensure_cluster


@dataclass(frozen=True, slots=True)
class Granted:
    """A user of etcd's: who that is in this fleet (None: nobody), and what is not as it should be, in words."""

    name: str
    user: User | None
    faults: tuple[str, ...] = ()


def new_password() -> str:
    """A password that nobody guesses: 192 bits."""
    return secrets.token_urlsafe(24)


class Grants:
    """The users and roles of the fleet below `keys`, in the etcd that the client leads to."""

    def __init__(self, etcd: Etcd, keys: Keys) -> None:
        self.admin = Admin(etcd)
        self._etcd, self._keys = etcd, keys

    async def found(self) -> Sentinel:
        """The sentinel, made if there is none: no agent may make one once users are on."""
        return await ensure_cluster(self._etcd, self._keys, secrets.token_hex(16))

    async def turn_on(self, root_password: str) -> bool:
        """Make etcd's root with this password and turn users on; False, nothing changed, when they are on."""
        if await self.admin.users_are_on():
            return False
        await self.found()
        await self.admin.add_role(ROOT)
        if not await self.admin.add_user(ROOT, root_password):
            await self.admin.set_password(ROOT, root_password)
        await self._assign(ROOT, ROOT)
        return await self.admin.turn_users_on()

    async def grant(self, user: User, password: str = "") -> bool:
        """Let a user have the rights of its role, and no other role of this fleet; True for a new one.

        `password` is a new one's, or replaces that of a user who exists; "" leaves it. UserError for a new user
        without one, and for root.
        """
        if user.name == ROOT:
            raise UserError(
                f"{ROOT} is etcd's own and may do everything; choose another name for a user of the fleet"
            )
        exists = user.name in await self.admin.users()
        if not exists and not password:
            raise UserError(f"{user.name} is no user yet, and a new one needs a password")
        role = user.etcd_role(self._keys)
        await self.admin.add_role(role)
        await self.admin.set_ranges(role, self._ranges(user))
        if password and not await self.admin.add_user(user.name, password):
            await self.admin.set_password(user.name, password)
        await self._assign(user.name, role)
        for other in await self.admin.roles_of(user.name):
            if other != role and other.startswith(stem(self._keys)):
                await self.admin.delete_role(other)
        return not exists

    async def revoke(self, name: str) -> bool:
        """Delete a user and its roles; False when there was none. Whoever is logged in as that user is out at once.

        UserError for root, without whom nobody can manage users.
        """
        if name == ROOT:
            raise UserError(f"{ROOT} cannot be revoked: nobody else can manage users")
        deleted = await self.admin.delete_user(name)
        for role in await self.admin.roles():
            user = user_of(role, self._keys)
            if user is not None and user.name == name:
                deleted = await self.admin.delete_role(role) or deleted
        return deleted

    async def users(self) -> tuple[Granted, ...]:
        """All users of etcd, with what is not as it should be: `grant` mends it."""
        return tuple([await self._granted(name) for name in sorted(await self.admin.users())])

    async def _granted(self, name: str) -> Granted:
        roles = await self.admin.roles_of(name)
        if name == ROOT or ROOT in roles:
            return Granted(name, None)
        of_fleet = [user for role in roles if (user := user_of(role, self._keys))]
        if len(of_fleet) != 1:
            faults = (f"has {len(of_fleet)} roles of this fleet",) if of_fleet else ()
            return Granted(name, of_fleet[0] if of_fleet else None, faults)
        user = of_fleet[0]
        if user.name != name:
            return Granted(name, user, (f"has the role of {user.name}",))
        held, wanted = set(await self.admin.ranges_of(user.etcd_role(self._keys))), set(self._ranges(user))
        odd = [("lacks", each) for each in sorted(wanted - held)]
        odd += [("has too much:", each) for each in sorted(held - wanted)]
        told = [(what, each, each.key.decode("utf-8", "replace") + "*" * bool(each.end)) for what, each in odd]
        return Granted(name, user, tuple(f"{what} {each.access} of {where}" for what, each, where in told))

    def _ranges(self, user: User) -> list[KeyRange]:
        return [KeyRange.of(each.access.value, each.key, prefix=each.prefix) for each in rights(user, self._keys)]

    async def _assign(self, user: str, role: str) -> None:
        if role not in await self.admin.roles_of(user):
            await self.admin.give_role(user, role)
