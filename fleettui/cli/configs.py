"""`fleetctl config` and `fleetctl secret`: files, variables and secrets for units, in versions."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path

from fleettui.access.secrets_key import keys_here, read_public
from fleettui.actions import configs
from fleettui.actions.disk import read_files
from fleettui.actions.operator import Operator
from fleettui.actions.pins import Holders, read_holders
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import OK, UsageError
from fleettui.cli.output import ListFormat, complain, print_json, print_rows, print_verbatim, say
from fleettui.cli.words import local_time
from fleettui.doctor.secrets import SHOWN, unable
from registry.errors import UserError
from registry.keys import Table
from registry.program.config import EtcdTable
from registry.sealing import PUBLIC_FILE, seal
from registry.sync.listing import read_snapshot
from registry.units.content import (
    MAX_SECRET,
    ConfigContent,
    check_variable,
    config_text,
    read_config,
    secret_text,
)
from registry.units.pins import NeedKind, check_name, older_holders
from registry.wording import counted, listed

LISTED = ("name", "version", "since", "by", "content", "units", "older")
VERSIONS = ("version", "hash", "since", "by", "content", "units")
ACTS = {"set": (1, None), "unset": (2, None), "list": (0, 0), "show": (1, 2), "history": (1, 1)} | {
    "rollback": (1, 1),
    "destroy": (1, None),
}


SECRET_ACTS = {"set": (1, 1), "list": (0, 0), "history": (1, 1), "rollback": (1, 1), "destroy": (1, None)}


async def config(flags: Namespace) -> int:
    """Carry out what the first word says."""
    act, words = act_of("config", flags.words, ACTS)
    if flags.file and act != "set":
        raise UsageError(f"--file is for config set, not for config {act}", "see: fleetctl config --help")
    variables = dict(map(_pair, words[1:])) if act == "set" else {}
    files = read_files(flags.file)
    if act == "set" and not (variables or files):
        raise UsageError("config set takes KEY=VALUE or --file FILE", "see: fleetctl config --help")
    async with open_operator(read_settings(flags, os.environ)) as operator:
        if act == "set":
            return await _change(operator, words[0], lambda content: content.with_changes(files, variables))
        if act == "unset":
            return await _change(operator, words[0], lambda content: _without(content, words[1:]), absent=False)
        if act == "show":
            return await _show(operator, words, flags)
        return await look_after(operator, NeedKind.CONFIG, act, words, flags)


async def secret(flags: Namespace) -> int:
    """Carry out what the first word says. A secret is never an argument, and never shown."""
    act, words = act_of("secret", flags.words, SECRET_ACTS)
    settings = read_settings(flags, os.environ)
    text = b""
    if act == "set":
        check_name(words[0])
        public = read_public(_public_key(settings.etcd))
        text = await asyncio.to_thread(_read_secret, words[0])
    async with open_operator(settings) as operator:
        if act != "set":
            code = await look_after(operator, NeedKind.SECRET, act, words, flags)
            if act == "list":
                await _tell_unable(operator, settings.etcd)
            return code

        def make(_: str | None) -> tuple[str, str]:
            return secret_text(words[0], *seal(public, words[0], text)), "sealed"

        version, _ = await configs.change(operator, NeedKind.SECRET, words[0], make)
        await tell(operator, NeedKind.SECRET, words[0], f"is version {version.number}")
        await _tell_unable(operator, settings.etcd)
        return OK


async def _tell_unable(operator: Operator, settings: EtcdTable) -> None:
    """Say which machines open no secret, and why."""
    snapshot = await read_snapshot(operator.etcd, operator.keys, [Table.MACHINES])
    bad = unable(snapshot.machines, keys_here(settings.ca_file))
    for why, each in groupby(sorted(bad, key=bad.__getitem__), key=bad.__getitem__):
        names = sorted(snapshot.machines[machine].hostname for machine in each)
        opens = "opens" if len(names) == 1 else "open"
        complain(f"{listed(names, SHOWN)} {opens} no secret: {why}")


def _public_key(settings: EtcdTable) -> Path:
    """Where the key lies that secrets are sealed with. UserError where nothing says."""
    if settings.sealing_key_file:
        return Path(settings.sealing_key_file)
    if not settings.ca_file:
        raise UserError(
            "nothing says where the public key for secrets lies; set etcd.sealing_key_file, or etcd.ca_file, beside"
            f" which fleettui join puts {PUBLIC_FILE}"
        )
    return Path(settings.ca_file).with_name(PUBLIC_FILE)


def _read_secret(name: str) -> bytes:
    """The secret as it comes on standard input, or is typed, unseen. UserError for none, and for one too large."""
    if sys.stdin.isatty():
        text = getpass.getpass(f"Secret {name}: ").encode()
        if getpass.getpass("Once more: ").encode() != text:
            raise UserError("the two are not the same; nothing was written")
    else:
        text = sys.stdin.buffer.read(MAX_SECRET + 1)
        if text.endswith(b"\n"):
            complain(f"Secret {name} ends with the end of a line, as it was given; printf %s leaves that out")
    if not 0 < len(text) <= MAX_SECRET:
        what = f"more than {MAX_SECRET} bytes" if text else "nothing"
        raise UserError(f"the secret is {what}; give it on standard input: fleetctl secret set {name} < FILE")
    return text


def act_of(command: str, words: list[str], acts: dict[str, tuple[int, int | None]]) -> tuple[str, list[str]]:
    """The act and what follows it. UsageError when it is none, or takes another number of words."""
    act, rest = (words[0], words[1:]) if words else ("", [])
    if act not in acts:
        reason = f"unknown act {act!r}; the acts are {', '.join(acts)}" if act else "no act is given"
        raise UsageError(reason, f"see: fleetctl {command} --help")
    least, most = acts[act]
    if len(rest) < least or (most is not None and len(rest) > most):
        raise UsageError(f"{command} {act} takes other words", f"see: fleetctl {command} --help")
    return act, rest


async def look_after(operator: Operator, kind: NeedKind, act: str, words: list[str], flags: Namespace) -> int:
    """List, tell the history of, roll back or destroy configs or secrets."""
    if act == "list":
        held, found = await read_holders(operator), await configs.read_all(operator, kind)
        rows = []
        for name, record in sorted(found.items()):
            holders = held.get((kind, name), {})
            newest, older = record.versions[0], older_holders(record.versions[0].hash, holders)
            rows.append(
                {
                    "name": name, "version": str(newest.number), "since": local_time(newest.at), "by": newest.by,
                    "content": newest.summary, "older": str(len(older)),
                    "units": str(len(holders)),
                }
            )  # fmt: skip
        print_rows(rows, ListFormat(LISTED, json=flags.json), rows)
    elif act == "history":
        record = await configs.read(operator, kind, words[0])
        holders = (await read_holders(operator)).get((kind, words[0]), {})
        rows = [
            {
                "version": str(each.number), "hash": each.hash if flags.json else each.hash[: configs.SHORT],
                "since": local_time(each.at), "by": each.by, "content": each.summary,
                "units": ", ".join(sorted(unit for unit, has in holders.items() if each.hash in has)),
            }
            for each in record.versions
        ]  # fmt: skip
        print_rows(rows, ListFormat(VERSIONS, json=flags.json), rows)
    elif act == "rollback":
        version = await configs.go_back(operator, kind, words[0], flags.at)
        await tell(operator, kind, words[0], f"is as it was, which is version {version.number} now")
    else:
        for name in words:
            await configs.destroy(operator, kind, name)
            say(f"{kind} {name} destroyed")
    return OK


async def tell(operator: Operator, kind: NeedKind, name: str, what: str) -> None:
    """Say what has become of a config or a secret, and how units get it."""
    say(f"{kind} {name} {what}")
    await tell_older(operator, kind, name)


async def tell_older(operator: Operator, kind: NeedKind, name: str) -> None:
    """Say which units have an older version than the newest, if any, and how they get that."""
    record = await configs.read(operator, kind, name)
    holders: Holders = (await read_holders(operator)).get((kind, name), {})
    older = older_holders(record.versions[0].hash, holders)
    if older:
        few = " ".join(f"'{each}'" for each in older[:4]) + (" …" if len(older) > 4 else "")
        has = "has" if len(older) == 1 else "have"
        say(f"{counted(len(older), 'unit')} {has} an older version; to roll it out: fleetctl rollout {few}")


async def _change(
    operator: Operator, name: str, change: Callable[[ConfigContent], ConfigContent], *, absent: bool = True
) -> int:
    def make(before: str | None) -> tuple[str, str]:
        content = change(read_config(before, name) if before is not None else ConfigContent())
        return config_text(name, content), content.summary

    version, new = await configs.change(operator, NeedKind.CONFIG, name, make, absent=absent)
    await tell(
        operator,
        NeedKind.CONFIG,
        name,
        f"is version {version.number} ({version.summary})" if new else "is so already",
    )
    return OK


def _without(content: ConfigContent, names: Iterable[str]) -> ConfigContent:
    for name in names:
        content = content.without(name)
    return content


async def _show(operator: Operator, words: list[str], flags: Namespace) -> int:
    """Print a config's variables and files; of one file its content."""
    record = await configs.read(operator, NeedKind.CONFIG, words[0])
    version = configs.choose(record, flags.at)
    content = read_config(await configs.read_content(operator, NeedKind.CONFIG, words[0], version), words[0])
    if len(words) == 2:
        if words[1] not in content.files:
            raise UserError(
                f"config {words[0]} has no file {words[1]}; it has {', '.join(content.files) or 'none'}"
            )
        print_verbatim(content.files[words[1]].decode("utf-8", "surrogateescape"))
    elif flags.json:
        files = {path: len(data) for path, data in content.files.items()}
        print_json({"version": version.number, "variables": dict(content.variables), "files": files})
    else:
        for name, value in content.variables.items():
            say(f"{name}={value}")
        for path, data in content.files.items():
            complain(f"file {path}, {counted(len(data), 'byte')}: fleetctl config show {words[0]} {path}")
    return OK


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UserError(f"{word!r} is not KEY=VALUE; files are given by --file")
    check_variable(name, value)
    return name, value
