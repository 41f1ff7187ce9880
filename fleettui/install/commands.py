"""`fleettui join` and `fleettui leave`: flags, questions, progress, timing. Prints plain text."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path

from fleettui.escape import escape
from fleettui.install.join import Joining, Wishes, prepared
from fleettui.install.leave import Manner, prepared_leave
from fleettui.install.plan import Metrics
from fleettui.install.progress import HERE, JoinProgress
from fleettui.install.steps import Stage
from registry.errors import FleetError, UserError, first_cause
from registry.units.options import metadata_pair

JOIN_EPILOG = """\
fleettui join root@a root@b root@c --etcd etcd-server.deb
                                          a new fleet: registry, agents, schedulers, your configuration
fleettui join root@d --metadata disk=ssd  one more machine
fleettui join --dry-run root@d            every step, nothing done

Hosts are reached as ssh reaches them, by your keys or your agent; a user who is not root needs sudo without a
password. A host needs systemd 252 and Python 3.11, and neither an index, nor a compiler, nor the internet. Run
twice it changes nothing; interrupted anywhere, run the same again.
"""


def join_parser() -> argparse.ArgumentParser:
    """Return the command line of `fleettui join`, with its help."""
    parser = argparse.ArgumentParser(
        prog="fleettui join",
        description="Make machines of a fleet of hosts, and a fleet where there is none yet.",
        epilog=JOIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("hosts", nargs="+", metavar="[USER@]HOST[:PORT]")
    _add_common(parser)
    parser.add_argument("--accept-host-keys", action="store_true", help="trust the keys of hosts not known yet")
    parser.add_argument("--metadata", action="append", metavar="KEY=VALUE,…", help="what MachineMetadata= asks for")
    parser.add_argument("--members", type=int, choices=(1, 3, 5), help="how many hosts hold the registry (3, or 1)")
    parser.add_argument(
        "--metrics",
        type=Metrics,
        choices=list(Metrics),
        help="who may scrape the hosts: themselves (loopback, the usual), whoever reaches their address, or nobody",
    )
    parser.add_argument("--etcd", type=Path, metavar="FILE", help="etcd for the registry: binary, .deb or .tar.gz")
    return parser


def join(argv: Sequence[str]) -> int:
    """Make machines of hosts; the exit code."""
    options = join_parser().parse_args(argv)
    wishes = Wishes(
        tuple(options.hosts),
        fleet=options.fleet,
        metadata=metadata_of(options.metadata),
        members=options.members or 0,
        metrics=options.metrics,
        etcd=options.etcd,
        accept=lambda keys: options.accept_host_keys or _ask_about(keys),
    )
    return guarded(_join(wishes, dry_run=options.dry_run, timing=options.timing))


LEAVE_EPILOG = """\
fleettui leave core-4            its units move away, its programs stop, its users are deleted
fleettui leave core-4 --purge    and the host is as it was before it joined
fleettui leave core-4 --gone     it burnt down: what is left of it in the registry goes

A member of the registry is taken out as one; where that would cost the quorum nothing is done. Interrupted
anywhere, run the same again.
"""


def leave_parser() -> argparse.ArgumentParser:
    """Return the command line of `fleettui leave`, with its help."""
    parser = argparse.ArgumentParser(
        prog="fleettui leave",
        description="Let a machine leave its fleet.",
        epilog=LEAVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("machine", metavar="MACHINE", help="host name, address, id or a beginning of it")
    parser.add_argument("--purge", action="store_true", help="delete everything of the fleet's there, too")
    parser.add_argument("--gone", action="store_true", help="it cannot be reached and never comes back")
    parser.add_argument(
        "--force",
        action="store_true",
        help="even if units run there that no other machine takes, or with --gone its agent answers",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--last", action="store_true", help="it is the last one, and the fleet ends with it")
    _add_common(parser)
    return parser


def leave(argv: Sequence[str]) -> int:
    """Make a host of a machine again; the exit code."""
    options = leave_parser().parse_args(argv)
    manner = Manner(options.purge, options.gone, options.force, options.last)
    return guarded(
        _leave(
            options.machine, options.fleet, manner, yes=options.yes, dry_run=options.dry_run, timing=options.timing
        )
    )


async def _leave(name: str, fleet: str | None, manner: Manner, *, yes: bool, dry_run: bool, timing: bool) -> int:
    async with prepared_leave(name, os.environ, fleet, manner) as leaving:
        if dry_run:
            show(leaving.stages)
            tell(leaving.notes)
            return 0
        if not yes:
            show(leaving.stages)
            print("\n".join(escape(f"  {line}") for line in leaving.units or ("no unit runs there",)))
            tell(leaving.notes)
            if not _agreed(f"{leaving.machine.hostname or name} leaves the fleet {leaving.site.files.name}."):
                return 1
        progress = JoinProgress(sys.stdout, [*leaving.site.hosts], planned=leaving.stages)
        await leaving.site.carry_out(leaving.stages, progress.report)
        if timing:
            print("\n".join(progress.timing()))
        if yes:
            tell(leaving.notes)
        print(escape(f"{leaving.machine.hostname or name} has left the fleet {leaving.site.files.name}."))
    return 0


async def _join(wishes: Wishes, *, dry_run: bool, timing: bool) -> int:
    began = time.monotonic()
    async with prepared(wishes, os.environ) as joining:
        tell(joining.notes)
        if dry_run:
            show(joining.stages)
            return 0
        if not joining.stages:
            print("Nothing to do: everything is as it should be.")
            return 0
        progress = JoinProgress(sys.stdout, [*joining.site.hosts], planned=joining.stages)
        progress.took("reach the hosts and read what they are", time.monotonic() - began)
        try:
            await joining.carry_out(progress.report)
        finally:
            progress.end()
        if timing:
            print("\n".join(progress.timing()))
        print(_summary(joining, time.monotonic() - began))
    return 0


def _summary(joining: Joining, seconds: float) -> str:
    files, number = joining.site.files, joining.named
    who = "1 machine is" if number == 1 else f"{number} machines are"
    way = "" if files.is_usual() else f" (FLEET_CONFIG={files.config})"
    return f"{who} in the fleet {files.name} after {seconds:.0f} s. See them with: fleetctl list-machines{way}"


def tell(notes: Sequence[str]) -> None:
    """Print what the user should know beside the steps."""
    for note in notes:
        print(f"note: {escape(note)}")


def show(stages: Sequence[Stage]) -> None:
    """Print every step that would be done."""
    if not stages:
        print("Nothing to do: everything is as it should be.")
    for stage in stages:
        print(f"{stage.name}:")
        for step in stage.steps:
            print(escape(f"  {step.host or HERE}: {step.does}"))


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fleet", metavar="NAME", help="which fleet, or what a new one is called (fleet)")
    parser.add_argument("--dry-run", action="store_true", help="show every step, do none")
    parser.add_argument("--timing", action="store_true", help="say how long each step took")


def metadata_of(texts: Sequence[str] | None) -> dict[str, str] | None:
    """What --metadata says; None where it was not given. UserError for what is no pair."""
    if texts is None:
        return None
    return dict(metadata_pair(pair) for text in texts for pair in text.split(",") if pair)


def _ask_about(keys: Sequence[tuple[str, str]]) -> bool:
    """Whether the user says that these are the hosts' keys; False where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    print("These hosts are new to you; their keys will be pinned:")
    for host, key in keys:
        print(f"  {escape(host)}  {escape(key)}")
    return input("Are these their keys? [yes/no] ").strip().lower() in ("y", "yes")


def _agreed(question: str) -> bool:
    """Ask for a yes on the terminal. UserError where there is none to ask at."""
    if not sys.stdin.isatty():
        raise UserError("this wants a yes, and there is no terminal to ask at: add --yes")
    return input(f"{escape(question)} Type yes: ").strip().lower() == "yes"


def guarded(
    work: Coroutine[None, None, int],
    interrupted: str = "interrupted; run the same again: it goes on from here",
) -> int:
    """Run to an exit code; several faults are a line each."""
    logging.disable(logging.CRITICAL)  # what the client of etcd logs is told by our errors, or nobody's business
    try:
        return asyncio.run(work)
    except (FleetError, BaseExceptionGroup) as error:
        cause = first_cause(error)
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if not isinstance(cause, FleetError):
            raise
        for line in str(cause).splitlines():
            print(f"error: {escape(line)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        return 130
