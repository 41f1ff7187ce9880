"""From flags, environment and file to an open registry. Owns the order in which they win; knows no command."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fleettui.actions.operator import Operator, actor
from fleettui.cli.output import complain
from registry.errors import ForeignRegistry, RegistryUnavailable, UserError
from registry.etcd import Etcd, EtcdSettings
from registry.etcd.health import endpoints_told
from registry.frozen import replace
from registry.grammar import writer_of
from registry.keys import Keys
from registry.program.config import (
    Settings,
    chosen_file,
    load,
    operator_files,
    parse_duration,
    put_text,
    says_where,
    variables,
)
from registry.runtime.waits import NeedsLoop, is_alone
from registry.sync.history import REMEDY
from registry.sync.sentinel import ahead, read_cluster


def read_settings(flags: Namespace, environ: Mapping[str, str]) -> Settings:
    """The operator's settings. UserError for a mistake in any of the three places, NeedsLoop for a tunnel."""
    aimed = flags.endpoint or says_where(environ)
    defaults = operator_files(environ)
    if not aimed:  # the local demo cluster's file is there while that cluster is up
        from fleettui.demo.paths import operator_config  # noqa: PLC0415 - only when nothing else is said

        defaults = (*defaults, str(operator_config("demo")))
    settings = with_flags(load(chosen_file(flags.config), environ, defaults), flags)
    if settings.ssh.tunnel and is_alone():
        raise NeedsLoop("a tunnel")
    return settings


def with_flags(settings: Settings, flags: Namespace) -> Settings:
    """The settings with what flags of the command line say instead. UserError."""
    for variable, place in variables().items():
        flag = variable.removeprefix("FLEETCTL_").lower()  # --ca-file is FLEETCTL_CA_FILE
        text = getattr(flags, flag, None) if variable.startswith("FLEETCTL_") else None
        if text is not None:
            settings = put_text(settings, *place, text, f"--{flag.replace('_', '-')}")
    return settings


@asynccontextmanager
async def open_operator(settings: Settings, *, warn: bool = True) -> AsyncIterator[Operator]:
    """The registry that the settings name, through the SSH tunnel if they name one.

    Unless `warn` is False, stderr is told at once that the fleet holds everything because the registry's history
    went back, and in the end which endpoint was found not to answer.
    """
    async with reached(settings) as way, Etcd(way) as etcd:
        operator = Operator(etcd, Keys.under(settings.etcd.prefix), writer_of(settings.etcd.username, actor()))
        if warn:
            await _tell_held(operator)
        yield operator
        told = "" if etcd.health.away else endpoints_told(etcd.health.bases, etcd.health.down)
        if warn and told:
            complain(f"WARNING: {told} ({'; '.join(each.reason for each in etcd.health.down.values())})")


async def _tell_held(operator: Operator) -> None:
    try:
        found = await read_cluster(operator.etcd, operator.keys)
    except ForeignRegistry:
        return  # for the command itself to tell
    if found is not None and found.held:
        complain(f"WARNING: the registry's history went back: {found.held}; the fleet holds everything; {REMEDY}")
    if found is not None and (why := ahead(found, operator.now())):
        complain(f"WARNING: the registry's sentinel is broken: {why}; the fleet holds everything; {REMEDY}")


@asynccontextmanager
async def reached(settings: Settings) -> AsyncIterator[EtcdSettings]:
    """How to reach etcd: directly, or by connections of the tunnel. The endpoints keep their names for TLS."""
    if not settings.ssh.tunnel:
        yield settings.etcd.client_settings()
        return
    from fleettui.remote import Remote  # noqa: PLC0415 - loads asyncssh

    async with Remote(settings.ssh) as remote, remote.tunnel() as tunnel:
        try:
            yield replace(settings.etcd.client_settings(), dial=tunnel.dial, why_closed=lambda: tunnel.trouble)
        except RegistryUnavailable as error:
            known = not tunnel.trouble or tunnel.trouble in str(error)
            raise RegistryUnavailable(str(error) if known else f"{error} ({tunnel.trouble})") from error


def duration(text: str | None, flag: str) -> float | None:
    """Seconds from a flag's text such as "30s" or "2m"; None when it was not given. UserError."""
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise UserError(f'{flag}: expected a duration such as "30s", not {text!r}') from None
    return seconds
