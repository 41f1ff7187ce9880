"""A fleet that a join has made, lived with: joins, upgrades and losses beside units that nobody may touch."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleettui.install import upgrade
from fleettui.install.archive import of_wheel
from fleettui.install.upgrade import prepared_upgrade
from registry.errors import FleetError
from registry.etcd.admin import Admin
from registry.roles import agent_of
from tests.cluster.nodes import eventually
from tests.install.laptop import Laptop, invocations, laptop_with, of_units
from tests.install.roots import BareNode
from tests.install.test_install_parts import wheel

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

UNITS = [f"w@{number}.service" for number in range(10)]
AGENT = "fleet-agentd to "


@pytest.fixture(scope="module")
def fleet() -> Iterator[Laptop]:
    """Three machines that hold the registry and run ten units, and a host that is none yet."""
    with laptop_with(["trixie"] * 4) as laptop:
        done = laptop.join(*laptop.hosts.nodes[:3], etcd=str(laptop.etcd))
        assert done.returncode == 0, done.stderr
        (laptop.home / "w@.service").write_text("[Service]\nExecStart=/bin/sleep infinity\n")
        started = laptop("fleetctl", "start", *(str(laptop.home / name) for name in UNITS))
        assert started.returncode == 0, started.stderr
        yield laptop


@pytest.fixture
def untouched(fleet: Laptop) -> Iterator[None]:
    """Nothing of what the first three machines run is touched in this test."""
    nodes = fleet.hosts.nodes[:3]
    ran = [of_units(node, UNITS) for node in nodes]
    assert "".join(ran).count("ActiveState=active") == len(UNITS)
    yield
    assert [of_units(node, UNITS) for node in nodes] == ran


@pytest.mark.usefixtures("untouched")
def test_a_join_run_again_on_a_live_fleet_touches_nothing(fleet: Laptop) -> None:
    nodes = fleet.hosts.nodes[:3]
    ran = [invocations(node) for node in nodes]
    for named in (nodes, nodes[1:2]):
        assert fleet.join(*named).stdout == "Nothing to do: everything is as it should be.\n"
    assert [invocations(node) for node in nodes] == ran


def current(node: BareNode) -> str:
    return node.exec(["readlink", "/opt/fleet/current"]).stdout.strip()


def starts_from(node: BareNode) -> set[str]:
    """The versions that agent and scheduler really run from, by the libraries that they have loaded."""
    script = "for each in fleet-agentd fleet-scheduler; do cat /proc/$(systemctl show -P MainPID $each)/maps; done"
    maps = node.exec(["sh", "-c", f"{script} | grep -o 'versions/[^/]*' | sort -u"]).stdout
    return set(maps.split())


@pytest.mark.usefixtures("untouched")
def test_an_upgrade_that_is_killed_is_finished_by_the_next_one_or_taken_back(fleet: Laptop, tmp_path: Path) -> None:
    nodes = fleet.hosts.nodes[:3]
    old = current(nodes[0])
    newer = str(wheel(tmp_path / "fleettui-9.1-py3-none-any.whl", records="# more\n"))
    assert fleet.killed(AGENT, "fleetctl", "upgrade", "--to", newer)
    assert len({current(node) for node in nodes}) == 2
    back = fleet("fleetctl", "upgrade", "--rollback")
    assert back.returncode == 0, back.stderr
    assert {current(node) for node in nodes} == {old}
    for line in ("unpack", AGENT, "fleet-scheduler to "):
        assert fleet.killed(line, "fleetctl", "upgrade", "--to", newer)
    role = asyncio.run(narrowed(fleet, nodes[0]))
    assert "lacks READ of /fleet/contents/*" in fleet("fleetctl", "access", "check").stdout
    done = fleet("fleetctl", "upgrade", "--to", newer)
    assert done.returncode == 0, done.stderr
    assert f"role of {role}" in done.stdout
    assert fleet("fleetctl", "access", "check").returncode == 0
    (new,) = {current(node) for node in nodes}
    assert [starts_from(node) for node in nodes] == [{new}] * 3
    newest = str(wheel(tmp_path / "fleettui-9.2-py3-none-any.whl", records="# still more\n"))
    assert fleet.killed(AGENT, "fleetctl", "upgrade", "--to", newest)  # of machines that were upgraded before
    for line in (AGENT, "fleet-scheduler to "):
        fleet.killed(line, "fleetctl", "upgrade", "--rollback")
    back = fleet("fleetctl", "upgrade", "--rollback")
    assert [starts_from(node) for node in nodes] == [{new}] * 3, back.stderr


async def narrowed(fleet: Laptop, node: BareNode) -> str:
    """Have the role of a machine's agent as a version before configs made it; its user."""
    user = agent_of(node.spec.machine_id)
    async with prepared_upgrade(fleet.environ) as upgrading, upgrading.site.registry() as etcd:
        admin, role = Admin(etcd), user.etcd_role(upgrading.site.keys)
        ranges = await admin.ranges_of(role)
        await admin.set_ranges(role, [each for each in ranges if b"/contents/" not in each.key])
    return user.name


@pytest.mark.usefixtures("untouched")
def test_a_switch_that_is_killed_after_any_of_its_commands_is_finished(fleet: Laptop, tmp_path: Path) -> None:
    """On both ways; a host that lost its power in the middle starts again with either version."""
    nodes = fleet.hosts.nodes[:3]
    (old,) = {current(node) for node in nodes}
    newer = wheel(tmp_path / "fleettui-9.3-py3-none-any.whl", records="# other\n")
    whole = upgrade.SWITCH
    for back in (False, True):
        for command in ("mv -T", "systemctl daemon-reload", "systemctl restart"):
            (line,) = [each for each in whole.splitlines() if each.strip().startswith(command)]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(upgrade, "SWITCH", whole.replace(line, f"{line}; kill -KILL $$"))
                asyncio.run(switched(fleet, newer, back=back))
        words = ["--rollback"] if back else ["--to", str(newer)]
        done = fleet("fleetctl", "upgrade", *words)
        assert done.returncode == 0, done.stderr
        (now,) = {current(node) for node in nodes}
        assert now == (old if back else f"versions/{of_wheel(newer).version}")
        assert [starts_from(node) for node in nodes] == [{now}] * 3


async def switched(fleet: Laptop, newer: Path, *, back: bool) -> None:
    """An upgrade whose switches fail."""
    with contextlib.suppress(FleetError):
        async with prepared_upgrade(fleet.environ, wheel=None if back else newer, rollback=back) as upgrading:
            await upgrading.site.carry_out(upgrading.stages, lambda *_: None)


def lists(fleet: Laptop, node: BareNode) -> set[str]:
    """The machines whose address the configuration files of a host name as the registry's."""
    found = node.exec(["sh", "-c", "grep -h ^endpoints /etc/fleet/*.toml"]).stdout
    return {each.name for each in fleet.hosts.nodes if f"{each.spec.address}:2379" in found}


def own_list(fleet: Laptop) -> set[str]:
    return {
        each.name for each in fleet.hosts.nodes if f"{each.spec.address}:2379" in fleet.files.config.read_text()
    }


def test_a_machine_that_is_gone_leaves_and_all_others_learn_where_the_registry_is(fleet: Laptop) -> None:
    first, second, third, fourth = fleet.hosts.nodes
    joined = fleet.join(fourth)
    assert joined.returncode == 0, joined.stderr
    ran = {node: active(node) for node in (first, second)}
    alive = fleet("fleettui", "leave", third.name, "--gone", "--yes")
    assert alive.returncode == 1
    assert "core-3 is not gone: its agent answers" in alive.stderr
    third.crash()
    eventually("its lease ends", lambda: third.name not in fleet.machines(), timeout_s=60, interval_s=1)
    note = fleet("fleetctl", "upgrade", "--rollback", "--dry-run")
    assert "no version that all machines had before" in note.stderr
    shown = fleet("fleettui", "leave", third.name, "--gone")
    assert "left with 2 members, none of which may be lost" in shown.stdout
    assert f"fleettui join --members 3 root@{fourth.name}" in shown.stdout
    assert "add --yes" in shown.stderr
    killed = fleet.killed("write where the registry is", "fleettui", "leave", third.name, "--gone", "--yes")
    assert killed
    done = fleet.documented("docs/operations.md", "gone", 0)
    assert done.returncode == 0, done.stderr
    assert [lists(fleet, node) for node in (first, second, fourth)] == [{first.name, second.name}] * 3
    assert own_list(fleet) == {first.name, second.name}
    assert all(ran[node] <= active(node) for node in ran)
    eventually("its units run elsewhere", lambda: running(fleet) == set(UNITS), timeout_s=60, interval_s=1)


def active(node: BareNode) -> set[str]:
    """The units that run on a node, each with its invocation."""
    return {each for each in of_units(node, UNITS).split("\n\n") if "ActiveState=active" in each}


def running(fleet: Laptop) -> set[str]:
    rows = fleet("fleetctl", "list-units", "--no-legend").stdout.splitlines()
    return {row.split()[0] for row in rows if " active " in f"{row} "}


def test_another_host_is_made_a_member_in_its_place(fleet: Laptop) -> None:
    first, second, _, fourth = fleet.hosts.nodes
    ran = [of_units(node, UNITS) for node in (first, second, fourth)]
    done = fleet.documented("docs/operations.md", "promote", 0, "--etcd", str(fleet.etcd))
    assert done.returncode == 0, done.stderr
    members = {first.name, second.name, fourth.name}
    assert [lists(fleet, node) for node in (first, second, fourth)] == [members] * 3
    assert own_list(fleet) == members
    assert [of_units(node, UNITS) for node in (first, second, fourth)] == ran
    assert "3 members, 1 may be lost" in fleet("fleetctl", "doctor").stdout


def test_members_of_the_registry_boot_one_after_the_other_and_it_answers_meanwhile(fleet: Laptop) -> None:
    if len(own_list(fleet)) < 3:
        joined = fleet.join(fleet.hosts.nodes[3], members="3", etcd=str(fleet.etcd))
        assert joined.returncode == 0, joined.stderr
    _, *members = sorted(own_list(fleet))
    assert len(members) == 2
    refused = fleet("fleetctl", "reboot", *members, "--at-a-time", "2")
    assert refused.returncode == 1
    assert "are 2 of the registry's 3 members, which can do without 1" in refused.stderr
    nodes, lost, over = [node for node in fleet.hosts.nodes if node.name in members], list[str](), threading.Event()
    boots = {node.exec(["cat", "/proc/sys/kernel/random/boot_id"]).stdout for node in nodes}

    def ask() -> None:
        while not over.is_set():
            if (done := fleet("fleetctl", "list-machines")).returncode:
                lost.append(done.stderr)

    asking = threading.Thread(target=ask, name="asking")
    asking.start()
    try:
        done = fleet("fleetctl", "reboot", *members, "--healthy-for", "1s")
    finally:
        over.set()
        asking.join()
    assert done.returncode == 0, done.stderr
    assert lost == []
    assert not boots & {node.exec(["cat", "/proc/sys/kernel/random/boot_id"]).stdout for node in nodes}


def test_a_host_that_was_taken_for_gone_and_returns_joins_again(fleet: Laptop) -> None:
    third = fleet.hosts.nodes[2]
    third.boot()
    third.wait_ready()
    done = fleet.join(third)
    assert done.returncode == 0, done.stderr
    assert "which is no member of the registry any more" in done.stdout
    assert third.name in fleet.machines()
    assert third.exec(["systemctl", "is-enabled", "fleet-etcd"]).stdout.strip() == "disabled"
    where = [node.exec(["systemctl", "is-active", *UNITS]).stdout.split() for node in fleet.hosts.nodes]
    assert [column.count("active") for column in zip(*where, strict=True)] == [1] * len(UNITS)
    assert "Nothing to do" in fleet.join(third).stdout


def test_a_member_that_leaves_says_what_is_left_and_who_cannot_be_told(fleet: Laptop) -> None:
    first, second, third, fourth = fleet.hosts.nodes
    third.exec(["systemctl", "mask", "--now", "--runtime", "ssh.service", "ssh.socket"])
    done = fleet("fleettui", "leave", second.name, "--yes")
    assert done.returncode == 0, done.stderr
    assert "left with 2 members" in done.stdout
    assert f"{third.name} cannot be reached" in done.stdout
    assert [lists(fleet, node) for node in (first, fourth)] == [{first.name, fourth.name}] * 2
    assert second.name in lists(fleet, third)
    third.exec(["systemctl", "unmask", "--runtime", "ssh.service", "ssh.socket"])
    third.exec(["systemctl", "start", "ssh.service"])
    assert fleet.join(third).returncode == 0
    assert lists(fleet, third) == {first.name, fourth.name}
    done = fleet("fleettui", "leave", fourth.name, "--yes")
    assert done.returncode == 0, done.stderr
    assert "left with 1 member, whose disk is all that there is" in done.stdout
    assert "fleettui join --members 3" in done.stdout
    assert fleet.machines() == {first.name, third.name}


def test_a_host_that_loses_its_power_in_an_upgrade_is_upgraded_when_it_is_back(
    fleet: Laptop, tmp_path: Path
) -> None:
    first, _, third, _ = fleet.hosts.nodes
    newer = wheel(tmp_path / "fleettui-9.4-py3-none-any.whl", records="# x\n")
    words = ("fleetctl", "upgrade", "--to", str(newer))
    code, said = fleet.disturbed("unpack", lambda _: third.crash(), *words)
    assert code == 1
    assert f"Error: {third.spec.address}: " in said
    eventually("its lease ends", lambda: third.name not in fleet.machines(), timeout_s=60, interval_s=1)
    done = fleet(*words)
    assert done.returncode == 0, done.stderr
    assert f"{third.name} is away and left as it is" in done.stdout
    assert current(first) == f"versions/{of_wheel(newer).version}"
    third.boot()
    third.wait_ready()
    eventually("it is back", lambda: third.name in fleet.machines(), timeout_s=60, interval_s=1)
    done = fleet(*words)
    assert done.returncode == 0, done.stderr
    assert starts_from(third) == starts_from(first) == {current(first)}
