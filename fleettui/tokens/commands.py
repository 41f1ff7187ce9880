"""`fleettui token`: tokens made, listed, approved, revoked. A secret is written into its own file alone."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleettui.access.authority import Authority, write_private
from fleettui.access.exchange import Exchange
from fleettui.access.grants import new_password
from fleettui.actions.operator import Operator
from fleettui.actions.reading import find_machine, read_machines
from fleettui.cli.output import ListFormat, agreed, complain, say, table
from fleettui.escape import escape
from fleettui.install import facts
from fleettui.install.archive import cache_directory
from fleettui.install.commands import guarded, metadata_of
from fleettui.install.fleet_files import FleetFiles, chosen
from fleettui.install.join import settings_of
from fleettui.tokens import on_host
from fleettui.tokens.admission import Admission, secret_file
from fleettui.tokens.record import Claim, Request, Token
from fleettui.tokens.store import TokenStore
from registry.errors import UserError
from registry.etcd import Etcd
from registry.etcd.admin import ROOT
from registry.keys import Keys
from registry.program.configrules import parse_duration
from registry.roles import joiner_of
from registry.wording import counted

LEAST_S, MOST_S, MOST_USES = 60, 86_400, 100
COME_S, REGISTER_S = 600.0, 60.0
EPILOG = """\
fleettui token create                    one host may join within 15 minutes, by the file that is written
fleettui token create --uses 5 --wait    five, and each is let in as it asks, while this waits
fleettui token approve 1f2e3d4c          let those in that ask with it
fleettui token revoke 1f2e3d4c           nobody more
fleettui token create --machine core-4   not a new machine: this one gets what it lacks, another certificate say

The file is a program. Bring it to the host and run it there as root, `python3 FILE`, or give it as user data, which
cloud-init runs at the first boot. It makes the host's keys there, and waits until it is let in from here.
"""


def token_parser() -> argparse.ArgumentParser:
    """Return the command line of `fleettui token`, with its help."""
    parser = argparse.ArgumentParser(
        prog="fleettui token",
        description="Let hosts join that this laptop does not reach by SSH.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("create", "list", "approve", "revoke"))
    parser.add_argument("token", nargs="?", metavar="TOKEN", help="which one, for approve and revoke")
    parser.add_argument("--ttl", default="15m", metavar="TIME", help="how long it lives, 1m to 24h (15m)")
    parser.add_argument("--uses", type=int, default=1, metavar="N", help="how many hosts may join by it (1)")
    parser.add_argument("--metadata", action="append", metavar="KEY=VALUE,…", help="what MachineMetadata= asks for")
    parser.add_argument("--machine", metavar="MACHINE", help="for this machine of the fleet alone, once more")
    parser.add_argument("--out", metavar="FILE", help="where to write it; - is standard output (fleet-join-TOKEN)")
    parser.add_argument("--wait", action="store_true", help="let hosts in as they ask, until it is used")
    parser.add_argument("--yes", action="store_true", help="approve without a question")
    parser.add_argument("--fleet", metavar="NAME", help="which fleet")
    return parser


def token(argv: Sequence[str]) -> int:
    """Do what the command says; the exit code."""
    parser = token_parser()
    options = parser.parse_args(argv)
    if (options.token is None) == (options.command in ("approve", "revoke")):
        parser.error(f"{options.command} takes {'the id of a token' if options.token is None else 'no token'}")
    if not 1 <= options.uses <= MOST_USES:
        parser.error(f"--uses {options.uses}: a token is good for 1 to {MOST_USES} hosts")
    if options.token and not re.fullmatch(r"[0-9a-f]{8}", options.token):
        parser.error(f"{options.token!r} is no token's id; see: fleettui token list")
    if options.out == "-" and sys.stdout.isatty():
        parser.error("--out -: standard output is a terminal, which shows the secret; name a file, or a pipe")
    return guarded(_token(options), "interrupted; what was begun is gone on with by: fleettui token approve TOKEN")


@dataclass(frozen=True, slots=True)
class TokenDesk:
    """The fleet of this laptop, with its registry as root: what the words of `fleettui token` do there.

    Each returns the exit code.
    """

    files: FleetFiles
    etcd: Etcd
    keys: Keys
    store: TokenStore
    admission: Admission

    async def create(self, options: argparse.Namespace) -> int:
        """Write a new token, and the program for the host; with --wait let hosts in until it is used."""
        ttl_s, now = _lifetime(options.ttl), time.time()
        made = Token(
            secrets.token_hex(4), now, now + ttl_s, options.uses, f"{self.files.operator}@{socket.gethostname()}",
            metadata_of(options.metadata) or {},
        )  # fmt: skip
        if options.machine:
            machines, overrides, unread = await read_machines(Operator(self.etcd, self.keys))
            machine = find_machine(options.machine, machines, {*overrides, *unread}, unread)
            made = replace(made, machine=machine, uses=1)
        path = Path(options.out or f"fleet-join-{made.id}")
        if options.out != "-" and os.path.lexists(path):  # noqa: ASYNC240 - looked at once
            raise UserError(f"{path} is there already; name another file: --out FILE")
        endpoints = [url for each in await self.etcd.member_list() for url in each.client_urls]
        if plain := [each for each in endpoints if not each.startswith("https://")]:
            raise UserError(f"the registry at {plain[0]} has no TLS: a token would be anybody's on the way there")
        text = await _made(self, made, ttl_s, endpoints)
        if options.out == "-":
            print(text)
            sys.stdout.flush()
        else:
            await asyncio.to_thread(write_private, path, text.encode())
        who = f"machine {made.machine}" if made.machine else counted(made.uses, "host")
        until = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(made.expires))
        complain(f"Token {made.id} lets {who} into the fleet {self.files.name} until {until}.")
        if options.out != "-":
            complain(
                f"Bring {path}, which holds its secret, to the host. Run there, as root:\n    python3 {path.name}"
            )
        if options.wait:
            return await _wait(self, made)
        complain(f"Then let it in from here: fleettui token approve {made.id}")
        return 0

    async def list_tokens(self) -> int:
        """Print all tokens."""
        rows = []
        for each in await self.store.all():
            waiting = await self.store.waiting(each.id)
            left = each.expires - time.time()
            rows.append([
                each.id,
                "used" if len(each.claims) >= each.uses else f"{left / 60:.0f} min left" if left > 0 else "run out",
                f"{len(each.claims)} of {each.uses}",
                str(len(waiting)),
                ", ".join(claim.hostname if claim.done else f"{claim.hostname} (not yet)" for claim in each.claims),
                each.by,
            ])  # fmt: skip
        fields = ("token", "state", "hosts", "waiting", "joined", "made-by")
        for line in table([[escape(cell) or "-" for cell in row] for row in rows], ListFormat(fields)):
            print(line)
        return 0

    async def approve(self, name: str, *, yes: bool) -> int:
        """Let in the hosts that ask with a token, asked unless `yes`, and wait until they are there."""
        made = await self.store.get(name)
        at_work = [each for each in made.claims if not each.done]
        asking = await self.store.waiting(name)
        if not asking and not at_work:
            complain(f"No host asks with token {name} now; run it there, then this again")
            return 1
        failed = False
        for digest, raw in asking.items():
            try:
                request = Request.read(digest, raw)
                if not yes and not agreed(f"{escape(request.shown)} asks as {digest[:12]}. Let it in?"):
                    failed = True
                    continue
                claim = await _admitted(self, made, request)
            except ValueError as error:
                complain(f"{digest[:12]} is no request of a host: {error}")
                continue
            failed = failed or claim is None
            at_work += [claim] if claim and claim.request not in {each.request for each in at_work} else []
        came = await asyncio.gather(*(_come(self, made, each) for each in at_work))
        await _used_up(self, name)
        return 0 if all(came) and not failed else 1

    async def revoke(self, name: str) -> int:
        """Take a token back, and what it let in that never came."""
        missing = await self.store.revoke(name, machines=True)
        secret_file(self.files, name).unlink(missing_ok=True)
        say(f"Token {name} is good for nothing any more")
        for each in missing:
            say(f"{each} had been let in and never came: it is out again")
        return 0


async def _token(options: argparse.Namespace) -> int:
    async with _desk(options.fleet) as desk:
        if options.command != "revoke":  # the remedy for a record that cannot be read, which a sweep reads
            for gone in await desk.store.sweep(time.time()):
                secret_file(desk.files, gone).unlink(missing_ok=True)
        match options.command:
            case "create":
                return await desk.create(options)
            case "list":
                return await desk.list_tokens()
            case "approve":
                return await desk.approve(options.token, yes=options.yes)
            case _:
                return await desk.revoke(options.token)


@contextlib.asynccontextmanager
async def _desk(fleet: str | None) -> AsyncIterator[TokenDesk]:
    files = await asyncio.to_thread(chosen, os.environ, fleet)
    settings = await asyncio.to_thread(settings_of, files, os.environ)
    if not (files.complete() and files.config.exists()):
        raise UserError(
            f"the fleet's authority and passwords are not in {files.directory}; run this where it was made"
        )
    keys, endpoints = Keys.under(settings.etcd.prefix), settings.etcd.endpoints
    async with Etcd(files.settings(endpoints, ROOT)) as etcd:
        store = TokenStore(etcd, keys)
        yield TokenDesk(
            files, etcd, keys, store, Admission(files, store, keys, endpoints, cache_directory(os.environ))
        )


def _lifetime(text: str) -> float:
    try:
        found = parse_duration(text)
    except ValueError:
        found = 0
    if not LEAST_S <= found <= MOST_S:
        raise UserError(f"--ttl {text}: write a time from 1m to 24h, like 15m or 2h")
    return found


async def _made(desk: TokenDesk, made: Token, ttl_s: float, endpoints: list[str]) -> str:
    """The program for the host, after the token has been written down, its secret half here alone."""
    authority = await asyncio.to_thread(Authority.load, desk.files.directory)
    leaf = authority.issue_client(made.lifetime)
    exchange, password, secret = Exchange(), new_password(), secret_file(desk.files, made.id)
    secret.parent.mkdir(mode=0o700, exist_ok=True)
    await asyncio.to_thread(write_private, secret, exchange.private.hex().encode())
    await desk.store.create(made, password)
    row = {
        "id": made.id,
        "fleet": desk.files.name,
        "ttl": ttl_s,
        "expires": made.expires,
        "endpoints": endpoints,
        "user": joiner_of(made.id).name,
        "password": password,
        "ca": authority.certificate_pem.decode(),
        "certificate": leaf.certificate.decode(),
        "key": leaf.key.decode(),
        "exchange": on_host.text(exchange.public),
        "keys": desk.store.prefixes(made.id),
    }
    return program(row)


def program(row: Mapping[str, object]) -> str:
    """The program that runs on a host, with its token in it."""
    text = Path(on_host.__file__).read_text()
    text = re.sub(r'(?m)^TOKEN = "{}".*$', lambda _: f"TOKEN = {json.dumps(row)!r}", text, count=1)
    return text.replace('\nFACTS = ""\n', f'\nFACTS = r"""{facts.SCRIPT}"""\n', 1)


async def _wait(desk: TokenDesk, made: Token) -> int:
    """Let hosts in as they ask, until the token is used or has run out."""
    complain("Waiting for it to ask; Ctrl-C leaves the token as it is")
    came: set[str] = set()
    used = asyncio.Event()

    async def one(digest: str, raw: bytes) -> None:
        try:
            claim = await _admitted(desk, made, Request.read(digest, raw))
            if claim and await _come(desk, made, claim):
                came.add(digest)
        except ValueError as error:
            complain(f"{digest[:12]} is no request of a host: {error}")
        except UserError as error:  # about this host: the others go on
            complain(f"{digest[:12]}: {error}")
        if len(came) >= made.uses:
            used.set()

    async def all_that_ask() -> None:
        async with asyncio.TaskGroup() as group:
            async for digest, raw in desk.store.requests(made.id):
                group.create_task(one(digest, raw))

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(all_that_ask())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(used.wait(), max(0, made.expires - time.time()))
        if not used.is_set():
            complain(f"Token {made.id} has run out")
        asking.cancel()
    await _used_up(desk, made.id)
    return 0 if used.is_set() else 1


async def _admitted(desk: TokenDesk, made: Token, request: Request) -> Claim | None:
    """Answer a host; its claim if it was let in. ValueError for a request that is none."""
    why = await desk.admission.admit(made, request, time.time())
    if why:
        complain(f"{request.shown}: refused: {why}")
        return None
    say(f"{request.shown}: let in; it does the rest")
    return (await desk.store.get(made.id)).claim_of(request.digest)


async def _come(desk: TokenDesk, made: Token, claim: Claim) -> bool:
    """Whether the host has become a machine in time; says so, and what it says of itself meanwhile."""

    async def told() -> None:
        async for text in desk.store.results(made.id, claim.request):
            if not text:
                return
            complain(f"{claim.hostname}: {text}")

    waits = [told()] if made.machine else [told(), desk.store.registered(claim.machine)]
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        async with asyncio.timeout(COME_S):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(REGISTER_S):
            await desk.store.registered(claim.machine)
    except TimeoutError:
        complain(f"{claim.hostname} has not come yet; when it has, token list says so: it goes on by itself")
        return False
    finally:
        for each in tasks:
            each.cancel()
    await desk.store.done(made.id, claim)
    say(f"{claim.hostname} is a machine of the fleet {desk.files.name}")
    return True


async def _used_up(desk: TokenDesk, name: str) -> None:
    """Delete a token that nobody can use any more."""
    made = await desk.store.get(name)
    if len(made.claims) >= made.uses and all(each.done for each in made.claims):
        await desk.store.revoke(name, machines=False)
        secret_file(desk.files, name).unlink(missing_ok=True)
