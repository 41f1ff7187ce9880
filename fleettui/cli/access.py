"""`fleetctl access`: who may do what in the registry, and renewing or taking back what lets them in.

Users are managed by etcd's root, whose password lies beside the fleet's authority on the host where the fleet was
made. What cannot be taken back is asked; everything else is shown as it is done, and may be run again.
"""

from __future__ import annotations

import datetime
import json
import os
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from fleettui.access import secrets_key
from fleettui.access.authority import Authority, runs_out, write_private
from fleettui.access.grants import Grants, new_password
from fleettui.access.rotation import Rotation, own_files
from fleettui.actions import resealing
from fleettui.actions.operator import Operator
from fleettui.actions.reading import find_machine, read_machines
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, OK, UsageError
from fleettui.cli.output import ListFormat, agreed, complain, print_json, say, table
from fleettui.escape import escape
from registry.errors import UserError
from registry.etcd.admin import ROOT
from registry.frozen import dataclass
from registry.model import Machine
from registry.program.config import Settings
from registry.roles import Role, User, agent_of, scheduler_of, user_named
from registry.sealing import PUBLIC_FILE
from registry.wording import counted, listed

FIELDS = ("user", "role", "machine", "trouble")
WARN_DAYS = 14
TAKES = {  # what follows each word, and how many words that may be
    "list": ("nothing more", (0,)),
    "grant": ("USER ROLE", (2,)),
    "revoke": ("USER or MACHINE", (1,)),
    "rotate": ("USER, or nothing", (0, 1)),
    "check": ("nothing more", (0,)),
}


async def access(flags: Namespace) -> int:
    """Do what the first word says."""
    verb, *words = flags.words or ["list"]
    if verb not in TAKES:
        raise UsageError(f"unknown word {verb!r}; known: {', '.join(TAKES)}", "see: fleetctl access --help")
    if len(words) not in TAKES[verb][1]:
        raise UsageError(f"access {verb} takes {TAKES[verb][0]}", "see: fleetctl access --help")
    settings = read_settings(flags, os.environ)
    async with _as_root(settings, flags.root_password_file) as commands:
        match verb:
            case "grant":
                return await commands.grant(words[0], words[1], renew=flags.renew)
            case "revoke":
                return await commands.revoke(words[0], yes=flags.yes)
            case "rotate":
                return await commands.rotate(flags, *words)
            case "check":
                return await commands.check()
            case _:
                return await commands.list_users(as_json=flags.json)


@asynccontextmanager
async def _as_root(settings: Settings, password_file: str | None) -> AsyncIterator[AccessCommands]:
    table = settings.etcd
    directory = Path(table.ca_file or table.password_file or ".").parent
    password = Path(password_file or directory / f"{ROOT}.password")
    if not os.path.isfile(password):  # noqa: PTH113, ASYNC240 - a local file, looked at once
        raise UserError(
            f"only etcd's root manages users, and {password} is not there: run this where the fleet was made, or"
            " name the file with its password: --root-password-file FILE"
        )
    as_root = replace(settings, etcd=replace(table, username=ROOT, password_file=str(password)))
    async with open_operator(as_root, warn=False) as operator:
        yield AccessCommands(operator, settings, directory)


@dataclass(frozen=True, slots=True)
class AccessCommands:
    """What the words of `fleetctl access` do, as etcd's root; each returns the exit status.

    `directory` is where the fleet's authority lies on this host.
    """

    operator: Operator
    settings: Settings
    directory: Path

    @property
    def grants(self) -> Grants:
        """The users of the registry."""
        return Grants(self.operator.etcd, self.operator.keys)

    async def list_users(self, *, as_json: bool) -> int:
        """Print every user, and what is wrong with it."""
        machines, _, _ = await read_machines(self.operator)
        rows = []
        for each in await self.grants.users():
            role = "root" if each.name == ROOT else each.user.role.value if each.user else "none of the fleet's"
            machine = each.name.partition("-")[2] if each.user and each.user in _users_of(each.name) else ""
            host = machines[machine].hostname if machine in machines else machine and "not there"
            rows.append([each.name, role, host, "; ".join(each.faults)])
        if as_json:
            print_json([dict(zip(FIELDS, row, strict=True)) for row in rows])
            return OK
        for line in table([[escape(cell) or "-" for cell in row] for row in rows], ListFormat(FIELDS)):
            print(line)
        return OK

    async def grant(self, name: str, role: str, *, renew: bool) -> int:
        """Let a user in, or give it another role; `renew` gives it another password."""
        user = _user(name, role)
        known = {each.name: each for each in await self.grants.users()}
        password = new_password() if renew or name not in known else ""
        before = known[name].user if name in known else None
        await self.grants.grant(user, password)
        if password:
            bundle = self._bundle(user, password)
            say(f"{name} is {_a(user.role)} now; what lets it in lies in {bundle}: hand it over")
        elif before != user or known[name].faults:
            no_longer = f", no longer {_a(before.role)}" if before and before != user else ""
            say(f"{name} is {_a(user.role)} now{no_longer}")
        else:
            say(f"{name} is {_a(user.role)} already; nothing was changed")
        return OK

    def _bundle(self, user: User, password: str) -> Path:
        """A directory with all that a user needs to get in, its configuration with the paths as they are here."""
        directory = self.directory / "users" / user.name
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = {"password": f"{password}\n".encode()}
        if (self.directory / "authority.pem").is_file():
            authority = Authority.load(self.directory)
            leaf = authority.issue_client()
            files |= {"ca.pem": authority.certificate_pem, "client.pem": leaf.certificate, "client.key": leaf.key}
        public = self.directory / PUBLIC_FILE
        if public.is_file() and user.role is Role.OPERATOR:
            files[PUBLIC_FILE] = public.read_bytes()
        for name, content in files.items():
            write_private(directory / name, content)
        names = {
            "ca_file": "ca.pem",
            "cert_file": "client.pem",
            "key_file": "client.key",
            "password_file": "password",
        }
        rows: dict[str, object] = {"endpoints": list(self.settings.etcd.endpoints), "username": user.name}
        rows |= {key: str(directory / name) for key, name in names.items() if name in files}
        text = "[etcd]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())
        write_private(directory / "fleet.toml", text.encode())
        return directory

    async def revoke(self, name: str, *, yes: bool) -> int:
        """Take a user out at once, or both users of a machine. Asked, unless `yes`."""
        machines, overrides, unread = await read_machines(self.operator)
        users = {each.name for each in await self.grants.users()}
        names, machine = [name], None
        if name not in users:
            machine = find_machine(name, machines, {*overrides, *unread}, unread)
            names = [each.name for each in (agent_of(machine), scheduler_of(machine)) if each.name in users]
        elif name in {each.name for each in _users_of(name)}:
            machine = name.partition("-")[2]
        if not names:
            raise UserError(f"{name} has no user in the registry; see: fleetctl access list")
        for line in _told(names, machines.get(machine or "")):
            complain(line)
        if not yes and not agreed(f"Revoke {' and '.join(names)}?"):
            complain("Nothing was revoked")
            return FAILED
        for each in names:
            await self.grants.revoke(each)
            say(f"Revoked {each}")
        if machine is not None:
            await _end_leases(self.operator, names, machine, machines.get(machine))
        say(
            "Its certificate still opens etcd's port, to nothing that needs a user. To close it: fleetctl access"
            " rotate --authority"
        )
        return OK

    async def rotate(self, flags: Namespace, user: str = "") -> int:
        """Renew certificates and passwords, one user's password, or the authority itself."""
        authority = flags.authority
        if authority and flags.secrets:
            raise UsageError("--authority and --secrets are renewed one after the other", "leave one of them out")
        if user and (authority or flags.secrets or flags.without):
            what = "--authority" if authority else "--secrets" if flags.secrets else "--without"
            raise UsageError(
                f"{what} is about everybody's certificates, and takes no user", "leave one of them out"
            )
        machines, overrides, unread = await read_machines(self.operator)
        left_out = {find_machine(each, machines, {*overrides, *unread}, unread) for each in flags.without}
        names = ", ".join(machines[each].hostname if each in machines else each for each in sorted(left_out))
        etcd = self.settings.etcd
        own = own_files(self.directory, etcd.username, etcd.password_file)
        users = {each.name for each in await self.grants.users()}
        let_in = [each for each in machines.values() if agent_of(each.id).name in users and each.id not in left_out]
        rotation = Rotation(self.grants, self.settings.ssh, let_in, own, say)
        if user:
            await rotation.password(user)
            return OK
        if flags.secrets:
            return await self._renew_secrets_key(rotation, names)
        signing = Authority.load(self.directory)
        if authority:
            urls = [url for each in await self.operator.etcd.member_list() for url in each.client_urls]
            at = {urlsplit(each).hostname for each in urls}
            if held := [each for each in left_out if each in machines and machines[each].address in at]:
                raise UserError(
                    f"{machines[held[0]].hostname} holds a member of the registry, which has to be given another"
                    " certificate by SSH: it cannot be left out"
                )
            await rotation.check_members()
            begun = signing.replaced
            signing = signing if begun else signing.replace()
            await rotation.trust(signing)
            if left_out and not begun:
                say(
                    f"Both authorities are trusted. Give {names} another certificate: fleettui token create"
                    " --machine MACHINE; then run the same again"
                )
                return OK
            if left_out and not flags.yes and not agreed(f"Has {escape(names)} got another certificate since?"):
                complain("Both authorities are still trusted")
                return FAILED
        await rotation.leaves(signing, self.directory)
        if authority:
            signing.forget_earlier()
            await rotation.trust(signing)
        else:
            await _passwords(self.grants, rotation)
        return OK

    async def _renew_secrets_key(self, rotation: Rotation, left_out: str) -> int:
        """Seal every secret for a new key; once no unit needs the earlier one, have it nowhere any more."""
        private = secrets_key.begin_renewal(self.directory)
        await rotation.secrets_key(private)  # before anything is sealed for it
        secrets_key.seal_for_newest(self.directory)
        done, refused = await resealing.reseal(self.operator, private)
        for name in done:
            say(f"secret {name}: sealed for the new key")
        for name, reason in refused.items():
            complain(f"secret {name} is still sealed for the earlier key: {reason}")
        if refused:
            return FAILED
        if units := await resealing.lagging(self.operator, private):
            have = "has" if len(units) == 1 else "have"
            say(
                f"{listed(sorted(units), 4)} {have} versions that are sealed for the earlier key, which stays"
                " until then: fleetctl rollout UNIT; then run the same again"
            )
            return OK
        await resealing.forget_earlier(self.operator, private)
        await rotation.secrets_key(secrets_key.newest_alone(private))
        secrets_key.forget_earlier(self.directory)
        say("The earlier key opens nothing any more, and is gone from this host and the machines")
        say(f"All who set secrets from elsewhere need the new key: copy {self.directory / PUBLIC_FILE} to them")
        if left_out:
            say(f"{left_out} has none of the new key; run fleettui join for it again once it is there")
        return OK

    async def check(self) -> int:
        """Say what is not as it should be; 1 when something is not."""
        users = await self.grants.users()
        found = [each for each in users if each.faults]
        for each in found:
            for fault in each.faults:
                say(escape(f"{each.name}: {fault}"))
            if each.user:
                say(f"To mend it: fleetctl access grant {each.name} {each.user.role}")
        expiring = list(self._expiring())
        for line in expiring:
            say(line)
        if not found and not expiring:
            say(f"All is as it should be with {counted(len(users), 'user')}")
        return FAILED if found or expiring else OK

    def _expiring(self) -> Iterator[str]:
        now = datetime.datetime.now(datetime.UTC)
        for name, remedy in (
            ("client.pem", "fleetctl access rotate"),
            ("ca.pem", "fleetctl access rotate --authority"),
        ):
            path = self.directory / name
            try:
                days = (runs_out(path.read_bytes()) - now).days
            except (OSError, ValueError):
                continue
            if days < WARN_DAYS:
                yield f"{path} runs out in {counted(max(days, 0), 'day')}; renew it: {remedy}"


def _users_of(name: str) -> tuple[User, User]:
    """The agent and the scheduler of the machine that a user is named for."""
    machine = name.partition("-")[2]
    return agent_of(machine), scheduler_of(machine)


def _a(role: Role) -> str:
    return f"{'an' if role.value[0] in 'ao' else 'a'} {role}"


def _user(name: str, role: str) -> User:
    known = [each.value for each in Role if each is not Role.JOINER]  # a token's: fleettui token create
    if role not in known:
        raise UserError(f"unknown role {role!r}; known: {', '.join(known)}")
    try:
        return user_named(name, Role(role))
    except ValueError as error:
        raise UserError(f"user {name!r}: {error}") from None


async def _end_leases(operator: Operator, names: list[str], machine: str, record: Machine | None) -> None:
    """End what the machine's programs could go on renewing without any right: its place, or a leadership."""
    etcd, keys = operator.etcd, operator.keys
    place, lead = await etcd.get(keys.machine(machine)), await etcd.get(keys.leader)
    if place and place.lease and agent_of(machine).name in names:
        await etcd.lease_revoke(place.lease)
    leads = lead is not None and record is not None and f'"{record.hostname}"'.encode() in lead.value
    if lead and lead.lease and leads and scheduler_of(machine).name in names:
        await etcd.lease_revoke(lead.lease)


def _told(names: list[str], machine: Machine | None) -> Iterator[str]:
    yield f"{' and '.join(names)} will be out at once, and cannot be let in again but with another password"
    if machine is not None and agent_of(machine.id).name in names:
        yield (
            f"{machine.hostname} then counts as lost: its units are placed elsewhere, though it may go on with"
            f" them. Drain it before, unless it is out of your hands: fleetctl drain {machine.hostname}"
        )


async def _passwords(grants: Grants, rotation: Rotation) -> None:
    for each in await grants.users():
        if rotation.knows(each.name) and each.name != ROOT:
            await rotation.password(each.name)
        elif each.name != ROOT:
            say(f"{each.name}: left as it is; its password lies elsewhere")
