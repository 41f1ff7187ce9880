"""`fleettui demo …`: the local cluster's commands, in plain text. Picks nodes, or one machine without root."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleettui.demo import network, nodefiles, showcase
from fleettui.demo.advice import DEFAULT, demo, opening
from fleettui.demo.cluster import PROGRAMS, Cluster
from fleettui.demo.images import load_image, podman_missing
from fleettui.demo.node import Node
from fleettui.demo.process import ToolFailed, wait_until
from fleettui.demo.requirements import nodes_missing, user_missing
from fleettui.demo.sweep import leftovers
from fleettui.demo.usermachine import UserMachine
from registry.errors import FleetError, UserError

REGISTERED_S = 15.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors are one line on stderr."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except FleetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; `{demo('down', arguments.name)}` removes what is there", file=sys.stderr)
        return 130


def open_console(arguments: argparse.Namespace) -> int:
    """Bring the cluster up, open the console, and say afterwards how to stop it."""
    up(arguments)
    machine = _running(arguments.name)
    code = subprocess.run([nodefiles.program("fleettui")], env=machine.environment, check=False).returncode
    print(f"\nThe cluster is still up. Stop it with: {demo('down', arguments.name)}")
    return code


def up(arguments: argparse.Namespace) -> int:
    """Bring the cluster and its example units up."""
    started = time.monotonic()
    reasons = nodes_missing()
    if reasons:
        return _up_on_user_systemd(reasons, arguments)
    cluster = Cluster.attach(arguments.name)
    if not cluster.complete():
        cluster = Cluster(arguments.name, arguments.nodes)
    cluster.up(_say)
    _say(f"{len(cluster.nodes)} machines up after {time.monotonic() - started:.1f} s")
    _await_agents(cluster)
    if arguments.examples:
        if lacking := podman_missing():
            _say(f"no container example: {'; '.join(lacking)}")
        _start_examples(cluster.fleetctl, containers=not lacking and _make_images(cluster))
    rows = hints(cluster.layout.name, cluster.config, [*cluster.nodes], examples=arguments.examples)
    print("\nTry:\n" + _table([(f"  {command}", meaning) for command, meaning in rows]) + "\n")
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Remove every trace of the cluster."""
    left = [] if nodes_missing() else Cluster.attach(arguments.name).down(_say)
    if arguments.name == DEFAULT and not user_missing() and UserMachine().state.exists():
        left += UserMachine().down()
    elif left == [] and nodes_missing() and leftovers(Cluster(arguments.name).layout):
        raise UserError(f"the cluster belongs to root; use `sudo {demo('down', arguments.name)}`")
    if left:
        raise ToolFailed(f"could not remove: {'; '.join(left)}")
    _say("nothing is left: no process, mount, interface, cgroup or directory")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Say what runs."""
    machine = _running(arguments.name)
    if isinstance(machine, UserMachine):
        print(_table([("SERVICE", "STATE"), *machine.states().items()]))
        return 0
    answers = "answers" if machine.etcd.answers() else "does not answer"
    print(f"etcd {answers} at {machine.layout.operator_endpoint}")
    heading = ("NODE", "ADDRESS", "STATE", "AGENT", "SCHEDULER", "MEMORY")
    print(_table([heading, *(_row(node) for node in machine.nodes.values())]))
    return 0


def kill(arguments: argparse.Namespace) -> int:
    """Crash a machine, as a power cut would."""
    return _fault(arguments, Node.crash, "is dead; its units move when its lease ends, in about 5 s")


def cut(arguments: argparse.Namespace) -> int:
    """Pull a machine's network cable."""
    return _fault(arguments, Node.cut, "is off the network; what it runs goes on there")


def heal(arguments: argparse.Namespace) -> int:
    """Plug it in again."""
    return _fault(arguments, Node.heal, "is on the network again")


def reboot(arguments: argparse.Namespace) -> int:
    """Boot a machine again, running or dead."""
    return _fault(arguments, Node.reboot, "has booted")


def parser() -> argparse.ArgumentParser:
    """Return the command line, with its help."""
    made = argparse.ArgumentParser(
        prog="fleettui demo",
        description="A local cluster: machines with a full systemd of their own, as containers on this host. "
        "Without a command: bring it up and open the console.",
    )
    _add_name(made, "demo")
    _add_up_options(made)
    made.set_defaults(run=open_console, nodes=3, examples=True)
    commands = made.add_subparsers(title="commands", metavar="COMMAND")
    for run in (up, down, status, kill, cut, heal, reboot):
        summary = (run.__doc__ or "").rstrip(".")
        command = commands.add_parser(run.__name__, help=summary, description=summary)
        command.set_defaults(run=run)
        _add_name(command, argparse.SUPPRESS)
        if run is up:
            _add_up_options(command)
        if run in (kill, cut, heal, reboot):
            command.add_argument("node", help="core-1, core-2, …")
    return made


def _add_name(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--name", default=default, metavar="NAME", help="the cluster's name (demo)")


def _add_up_options(parser: argparse.ArgumentParser) -> None:
    """The options of `up`, taken before the command and after it; only what is given replaces a default."""
    unsaid = argparse.SUPPRESS
    parser.add_argument("--nodes", type=int, default=unsaid, metavar="N", help="how many machines (3)")
    parser.add_argument(
        "--no-examples", dest="examples", action="store_false", default=unsaid, help="start no example units"
    )


def _fault(arguments: argparse.Namespace, act: Callable[[Node], None], outcome: str) -> int:
    reasons = nodes_missing()
    if reasons:
        raise UserError(f"no machine to {arguments.run.__name__}: {reasons[0]}")
    cluster = Cluster.attach(arguments.name)
    if not cluster.complete():
        raise UserError(f"the cluster {arguments.name} is not up; use `{demo('up', arguments.name)}`")
    node = cluster.node(arguments.node)
    act(node)
    _say(f"{node.name} {outcome}")
    return 0


def _up_on_user_systemd(reasons: list[str], arguments: argparse.Namespace) -> int:
    lacking = user_missing()
    if lacking:
        raise UserError(
            f"cannot boot machines ({'; '.join(reasons)}), nor run one on your own systemd "
            f"({'; '.join(lacking)}). Run `sudo make setup`, then `sudo {demo('up', arguments.name)}`"
        )
    if arguments.name != DEFAULT:
        raise UserError(
            f"cannot boot machines ({'; '.join(reasons)}), and the one machine on your own systemd has no name; "
            "leave --name out"
        )
    _say(f"no machines of their own ({'; '.join(reasons)}): using this machine alone, on your own systemd")
    machine = UserMachine()
    machine.up()
    if arguments.examples:
        _start_examples(machine.fleetctl, containers=False)
    _say(f"up; {opening('fleettui', machine.config)} opens the console, {demo('down', DEFAULT)} stops it")
    return 0


def _running(name: str) -> Cluster | UserMachine:
    cluster = Cluster.attach(name)
    if cluster.complete():
        return cluster
    if name == DEFAULT and UserMachine().config.exists():
        return UserMachine()
    raise UserError(f"the cluster {name} is not up; use `{demo('up', name)}`")


def _start_examples(fleetctl: showcase.Fleetctl, *, containers: bool) -> None:
    _say("starting the example units")
    try:
        complaints = showcase.start(fleetctl, containers=containers)
    except FleetError as error:
        complaints = [str(error)]
    for complaint in complaints:
        _say(f"warning: {complaint}")


def _make_images(cluster: Cluster) -> bool:
    """Make the container image on every node; False, with a warning, when podman cannot."""
    _say("making the container image")
    try:
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="image") as pool:
            list(pool.map(load_image, cluster.nodes.values()))
    except ToolFailed as error:
        _say(f"warning: no container example: {error}")
        return False
    return True


def _await_agents(cluster: Cluster) -> None:
    """Wait until all machines are in the registry, so that the examples spread over all of them."""
    try:
        wait_until(
            "the agents registering",
            lambda: len(cluster.etcd.dump("/fleet/machines/")) >= len(cluster.nodes),
            timeout_s=REGISTERED_S,
            interval_s=0.1,
        )
    except ToolFailed as error:
        bridge = cluster.layout.bridge
        _say(f"warning: {error}; a firewall of this host may drop what comes from {bridge}")


def hints(name: str, config: Path, nodes: Sequence[str], *, examples: bool) -> list[tuple[str, str]]:
    """What to try on a cluster, with its machines and units only."""
    fleettui, fleetctl = (opening(each, config) for each in ("fleettui", "fleetctl"))
    rows = [(fleettui, "the console"), (f"{fleetctl} list-units", "what runs where")]
    if examples:
        rows.append((f"{fleetctl} why mars.service", "why one does not run"))
    if len(nodes) > 1:
        rows.append((demo("kill", name, nodes[1]), "and watch its units move; `reboot` brings it back"))
        rows.append((demo("cut", name, nodes[-1]), "cut its network; `heal` ends it"))
    return [*rows, (demo("down", name), "stop it all and leave nothing behind")]


def _row(node: Node) -> tuple[str, ...]:
    if not node.alive():
        return node.name, node.spec.address, "down", "-", "-", "-"
    state = "frozen" if node.frozen() else "cut off" if network.is_cut(node.spec) else "up"
    programs = ["-", "-"] if state == "frozen" else node.exec(["systemctl", "is-active", *PROGRAMS]).stdout.split()
    return node.name, node.spec.address, state, *programs, f"{node.cgroup.memory_bytes() / 2**20:.0f} MiB"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _say(text: str) -> None:
    print(text, flush=True)
