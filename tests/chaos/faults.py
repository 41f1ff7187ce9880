"""Breaking the real cluster and mending it again: what each fault of a script does.

Every fault is a pair, `begin` and `heal`. Nothing here judges; what a fault excuses is said in `exempts`.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

from fleettui.demo import network
from fleettui.demo.cgroup import Cgroup
from fleettui.demo.cluster import PROGRAMS, Cluster
from fleettui.demo.etcdmembers import EtcdMembers
from fleettui.demo.etcdserver import EtcdServer
from fleettui.demo.node import Node
from fleettui.demo.process import ToolFailed, run, spawn, wait_until
from tests.chaos import crowd
from tests.chaos.registry_faults import RegistryFaults
from tests.chaos.script import Step

STATE_MOUNT = """\
[Unit]
Description=a small disk for the agent's state
Before=fleet-agentd.service

[Mount]
What=tmpfs
Where=/run/fleet
Type=tmpfs
Options=mode=0755,size=1m
"""
NEWER = Path(__file__).with_name("newer.py")
FORGE = Path(__file__).with_name("forge.sh")
AFTER_MOUNT = "[Unit]\nRequires=run-fleet.mount\nAfter=run-fleet.mount\n"


class Faults:
    """Every fault on one cluster. `crashed` is told of a machine's end once nothing of it runs."""

    def __init__(self, cluster: Cluster, crashed: Callable[[str], None], registry: RegistryFaults) -> None:
        if not isinstance(cluster.etcd, EtcdMembers):
            raise TypeError("the campaign needs an etcd of three members")
        self.cluster = cluster
        self.etcd = cluster.etcd
        self.registry = registry
        self._crashed = crashed
        self._chosen: dict[Step, list[EtcdServer]] = {}
        self._lock = threading.Lock()

    # ---- before and between

    def prepare(self) -> None:
        """Give every machine a small disk for the agent's state, a place for traces, and a unit of its own."""
        for node in self.cluster.nodes.values():
            _put(node, "/etc/systemd/system/run-fleet.mount", STATE_MOUNT)
            _put(node, "/etc/systemd/system/fleet-agentd.service.d/10-disk.conf", AFTER_MOUNT)
            _put(node, f"/etc/systemd/system/{crowd.HOST_UNIT}", crowd.host_text())
            _shell(node, "mkdir -p /var/chaos; systemctl stop fleet-agentd; systemctl daemon-reload")
            _shell(node, f"systemctl enable -q --now {crowd.HOST_UNIT}; systemctl start fleet-agentd")

    def set_policy(self, policy: str) -> None:
        """Every agent's on_lost_registry."""
        for node in self.cluster.nodes.values():
            line = f'on_lost_registry = "{policy}"'
            edit = f"sed -i '/^on_lost_registry/d; s/^\\[agent\\]/[agent]\\n{line}/' /etc/fleet/fleet.toml"
            _shell(node, f"{edit}; systemctl restart fleet-agentd")

    def mend(self) -> None:
        """Undo whatever is broken, however it came to be."""
        for member in self.etcd.members:
            member.thaw()
            member.launch()
            member.heal()
        for node in self.cluster.nodes.values():
            self._end_relay(node)
            if node.alive():
                node.thaw()
                node.heal()
            else:
                node.boot()
        for node in self.cluster.nodes.values():
            node.wait_ready()
            _shell(
                node,
                "rm -f /run/fleet/ballast; systemctl stop forger.service 2>/dev/null;"
                " rm -rf /run/systemd/system/fleet-*.service.d; systemctl daemon-reload",
            )
            _shell(node, f"systemctl kill -s CONT {' '.join(PROGRAMS)}; systemctl start {' '.join(PROGRAMS)}")
        wait_until("etcd healthy", lambda: all(each.answers() for each in self.etcd.members), timeout_s=30)
        self.registry.mend()

    # ---- one fault

    def begin(self, step: Step) -> None:
        """Break it. Raises ToolFailed when the cluster is not in a state to be broken so."""
        if step.verb in self.registry.VERBS:
            self.registry.begin(step)
        elif step.target.startswith("etcd"):
            self._begin_etcd(step)
        elif "@" in step.target:
            self._begin_program(step)
        else:
            self._begin_machine(step)

    def heal(self, step: Step) -> None:
        """Mend it."""
        if step.verb in self.registry.VERBS:
            self.registry.heal(step)
        elif step.target.startswith("etcd"):
            self._heal_etcd(step)
        elif "@" in step.target:
            self._heal_program(step)
        else:
            self._heal_machine(step)

    def _begin_etcd(self, step: Step) -> None:
        members = self._members(step.target)
        with self._lock:
            self._chosen[step] = members
        for member in members:
            {"kill -9": member.kill, "SIGSTOP": member.freeze, "cut": member.cut}[step.verb]()

    def _heal_etcd(self, step: Step) -> None:
        for member in self._chosen.pop(step, []):
            {"kill -9": member.launch, "SIGSTOP": member.thaw, "cut": member.heal}[step.verb]()

    def _members(self, target: str) -> list[EtcdServer]:
        if target == "etcd's leader":
            leader = self.etcd.leader()
            return [leader] if leader else []
        return [each for each in self.etcd.members if each.name in target.split()]

    def _begin_program(self, step: Step) -> None:
        program, _, name = step.target.partition("@")
        node = self.cluster.node(name)
        match step.verb:
            case "kill -9":
                node.signal_unit(f"{program}.service", "KILL")
            case "restart":
                _shell(node, f"systemctl restart --no-block {program}")
            case "SIGSTOP":
                node.signal_unit(f"{program}.service", "STOP")
            case "stop in order":
                _shell(node, f"systemctl stop {program}", timeout_s=60)
            case "step the clock of":
                _fake_clock(node, program, step.detail)
            case "run a newer":
                # By a shell, as in demo/nodefiles.py: the user of the scheduler may not enter the home of Python.
                start = f'ExecStart=\nExecStart=/bin/sh -c "exec {self.cluster.system.python} {NEWER} {program}"\n'
                _put(node, f"/run/systemd/system/{program}.service.d/newer.conf", f"[Service]\n{start}")
                _shell(node, f"systemctl daemon-reload; systemctl restart --no-block {program}")

    def _heal_program(self, step: Step) -> None:
        program, _, name = step.target.partition("@")
        node = self.cluster.node(name)
        match step.verb:
            case "SIGSTOP":
                node.signal_unit(f"{program}.service", "CONT")
            case "stop in order":
                _shell(node, f"systemctl start --no-block {program}")
            case "step the clock of" | "run a newer":
                drop_in = f"/run/systemd/system/{program}.service.d"
                _shell(node, f"rm -rf {drop_in}; systemctl daemon-reload; systemctl restart --no-block {program}")

    def _begin_machine(self, step: Step) -> None:
        node = self.cluster.node(step.target)
        match step.verb:
            case "crash":
                self._end_relay(node)
                node.crash()
                self._crashed(node.name)
            case "freeze":
                node.freeze()
            case "cut":
                node.cut()
            case "worsen":
                self._begin_relay(node, step.detail)
            case "outrun the followers on":
                for program in PROGRAMS:
                    node.signal_unit(program, "STOP")
            case "forge signals on":
                _forge(node, step.detail)
            case "fill the disk of":
                _shell(node, "dd if=/dev/zero of=/run/fleet/ballast bs=4k 2>/dev/null || true")

    def _heal_machine(self, step: Step) -> None:
        node = self.cluster.node(step.target)
        match step.verb:
            case "crash":
                node.boot()
                node.wait_ready()
            case "freeze":
                node.thaw()
            case "cut":
                node.heal()
            case "worsen":
                self._end_relay(node)
                node.heal()
            case "outrun the followers on":
                self.registry.compact()
                for program in PROGRAMS:
                    node.signal_unit(program, "CONT")
            case "forge signals on":
                _shell(node, "systemctl stop forger.service || true")
            case "fill the disk of":
                _shell(node, "rm -f /run/fleet/ballast")

    # ---- a bad cable

    def _relay(self, node: Node) -> Cgroup:
        return Cgroup(f"{self.cluster.layout.cgroup_prefix}wire-{node.name}")

    def _begin_relay(self, node: Node, detail: str) -> None:
        found = re.fullmatch(r"loss=(\d+)% delay=(\d+)ms seed=(\d+)", detail)
        if found is None:
            raise ToolFailed(f"cannot read {detail!r}")
        loss, delay_ms, seed = (int(each) for each in found.groups())
        group, layout = self._relay(node), self.cluster.layout
        group.create()
        link = _own_name(node.spec.link)
        words = [link, layout.bridge, str(loss / 100), str(delay_ms), str(seed)]
        program = [sys.executable, str(Path(__file__).with_name("wire.py")), *words]
        spawn(group.launcher(program), layout.state / f"wire-{node.name}.log")
        wait_until("the relay", lambda: network.exists(f"{link[-13:]}t"), timeout_s=5)

    def _end_relay(self, node: Node) -> None:
        self._relay(node).end()


def _own_name(interface: str) -> str:
    """The kernel's name of an interface: long ones of systemd-nspawn are alternative names."""
    return str(json.loads(run(["ip", "-json", "link", "show", "dev", interface]).stdout)[0]["ifname"])


def _fake_clock(node: Node, program: str, step: str) -> None:
    """Restart one program with a clock of its own, let it run for a moment, and then step that clock."""
    library = faketime_library()
    file = f"/run/chaos-clock-{program}"
    variables = {
        "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": file, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1",
    }  # fmt: skip
    lines = "".join(f"Environment={name}={value}\n" for name, value in variables.items())
    _put(node, f"/run/systemd/system/{program}.service.d/clock.conf", f"[Service]\n{lines}")
    _put(node, file, "+0s\n")
    _shell(node, f"systemctl daemon-reload; systemctl restart {program}; sleep 1.5; echo '{step}' >{file}")


def _forge(node: Node, detail: str) -> None:
    """Let user nobody send the agent signals as systemd would, about some of the units, until it is stopped."""
    random = Random(detail)
    units = random.sample(crowd.NAMES, 4)
    pairs = " ".join(f"{unit} {re.sub(r'[^A-Za-z0-9]', _escaped, unit)}" for unit in units)
    state = random.choice(["failed", "inactive", "active"])
    _put(node, "/run/forge.sh", FORGE.read_text())
    _shell(node, f"systemd-run --quiet --collect --unit=forger --uid=nobody bash /run/forge.sh {state} {pairs}")


def _escaped(found: re.Match[str]) -> str:
    """A sign as it stands in an object path of systemd's."""
    return f"_{ord(found[0]):02x}"


def faketime_library() -> str:
    """Where libfaketime lies, "" when it is not installed."""
    return next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), "")


def _put(node: Node, path: str, text: str) -> None:
    done = node.exec(["sh", "-c", f"mkdir -p {Path(path).parent}; cat >{path}"], text=text, timeout_s=10)
    if done.returncode:
        raise ToolFailed(f"cannot write {path} on {node.name}: {done.stderr.strip()}")


def _shell(node: Node, script: str, *, timeout_s: float = 30) -> None:
    done = node.exec(["sh", "-c", script], timeout_s=timeout_s)
    if done.returncode:
        raise ToolFailed(f"{node.name}: {script[:60]}: {done.stderr.strip()[-200:]}")
