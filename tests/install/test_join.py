"""The whole page: hosts of Debian that have nothing of ours become a fleet, and are hosts again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fleettui.install import etcd_program
from fleettui.install.join import Wishes, prepared
from fleettui.install.steps import Step
from registry.errors import first_cause
from registry.etcd import Etcd
from tests.cluster.nodes import eventually
from tests.install.laptop import Laptop, invocations, laptop_with, of_units, target
from tests.install.roots import BareNode
from tests.install.test_install_parts import wheel

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PLAIN = "[Service]\nExecStart=/bin/sleep infinity\n"
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nMachineMetadata=disk=ssd\n"
STEPS = 37  # of a join of three


class Interrupted(BaseException):
    """What Ctrl-C is."""


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    """Two hosts of Debian 12 and three of 13, and a laptop that may log in to them. The last has no Python."""
    with laptop_with(["bookworm", "trixie", "bookworm", "trixie", "bookworm"]) as laptop:
        for python in laptop.hosts.nodes[4].root.directory.glob("usr/bin/python3*"):
            python.unlink()
        yield laptop


@pytest.fixture(scope="module")
def before(laptop: Laptop) -> dict[str, dict[str, str]]:
    """What was on the disk of each host before anything was done to it."""
    return {node.name: node.root.listing() for node in laptop.hosts.nodes}


@pytest.fixture(scope="module")
def joined(laptop: Laptop, before: dict[str, dict[str, str]]) -> Laptop:  # noqa: ARG001 - it is before this
    """The first three hosts in a fleet: by a join that was interrupted after each of its steps.

    The other hosts' steps of that moment are interrupted in their middle.
    """
    runs = asyncio.run(interrupted_joins(laptop))
    assert runs > STEPS // 3  # hosts do their steps side by side, and what was asked of them goes on
    return laptop


async def interrupted_joins(laptop: Laptop) -> int:
    binary = laptop.home / "etcd"  # read 30 times: a package is unpacked each time
    binary.write_bytes(etcd_program.read(laptop.etcd).content)
    binary.chmod(0o755)
    wishes = Wishes(tuple(map(target, laptop.hosts.nodes[:3])), etcd=binary, accept=lambda _: True)
    for number in range(2 * STEPS):
        async with prepared(wishes, laptop.environ) as joining:
            if not joining.stages:
                return number

            def interrupt(_step: Step, seconds: float) -> None:
                if seconds >= 0:
                    raise Interrupted

            with contextlib.suppress(Interrupted):
                try:
                    await joining.carry_out(interrupt)
                except BaseExceptionGroup as group:
                    raise first_cause(group) from group
    raise AssertionError(f"not joined after {2 * STEPS} runs; left: {joining.stages}")


def test_a_host_without_python_is_told_so_and_left_as_it_is(
    laptop: Laptop, before: dict[str, dict[str, str]]
) -> None:
    bare = laptop.hosts.nodes[4]
    done = laptop.join(bare, etcd=str(laptop.etcd))
    assert done.returncode == 1
    assert "it has no Python, and 3.11 or newer is needed; apt-get install python3" in done.stderr
    assert bare.root.listing() == before[bare.name]


def test_a_dry_run_shows_the_steps_and_does_none(laptop: Laptop, before: dict[str, dict[str, str]]) -> None:
    node = laptop.hosts.nodes[3]
    done = laptop("fleettui", "join", "--dry-run", "--accept-host-keys", "--etcd", str(laptop.etcd), target(node))
    for words in ("unpack fleettui", "put etcd 3.5.16", "start the registry", "let nobody in", "start the agent"):
        assert words in done.stdout
    assert node.root.listing() == before[node.name]
    assert not laptop.files.directory.exists()


def test_a_host_key_that_nobody_knows_is_not_trusted_unasked(laptop: Laptop) -> None:
    done = laptop("fleettui", "join", "--etcd", str(laptop.etcd), target(laptop.hosts.nodes[3]))
    assert done.returncode == 1
    assert "no known_hosts has its key" in done.stderr
    assert "SHA256:" in done.stderr


def test_three_bare_hosts_are_a_secured_fleet(joined: Laptop) -> None:
    listed = json.loads(joined("fleetctl", "list-machines", "--json").stdout)
    assert {each["ip"] for each in listed} == {node.spec.address for node in joined.hosts.nodes[:3]}
    members = asyncio.run(members_of(joined))
    assert sorted(str(each["name"]) for each in members) == ["core-1", "core-2", "core-3"]
    assert not any(each["learner"] for each in members)
    assert {node.spec.address in joined.files.known_hosts.read_text() for node in joined.hosts.nodes[:3]} == {True}


async def members_of(laptop: Laptop) -> list[dict[str, object]]:
    endpoint = f"https://{laptop.hosts.nodes[0].spec.address}:2379"
    async with Etcd(laptop.files.settings([endpoint], "root")) as etcd:
        return [{"name": each.name, "learner": each.learner} for each in await etcd.member_list()]


def test_run_twice_it_changes_nothing(joined: Laptop) -> None:
    nodes = joined.hosts.nodes[:3]
    there = [(node.root.listing(), invocations(node)) for node in nodes]
    kept = {path: path.read_bytes() for path in joined.files.directory.iterdir()}
    done = joined.documented("README.md", "install", 1)
    assert done.stdout == "Nothing to do: everything is as it should be.\n", done.stderr
    assert [(node.root.listing(), invocations(node)) for node in nodes] == there
    assert {path: path.read_bytes() for path in joined.files.directory.iterdir()} == kept
    assert all(node.spec.address in joined.documented("README.md", "install", 2).stdout for node in nodes)


def test_a_fourth_host_is_one_command_even_if_it_is_killed(joined: Laptop) -> None:
    node, others = joined.hosts.nodes[3], [invocations(each) for each in joined.hosts.nodes[:3]]
    for _ in range(2):
        assert joined.killed("", "fleettui", "join", "--accept-host-keys", "--metadata", "disk=ssd", target(node))
    done = joined.documented("README.md", "one more", 0)
    assert done.returncode == 0, done.stderr
    listed = json.loads(joined("fleetctl", "list-machines", "--json").stdout)
    assert {each["ip"]: each["metadata"] for each in listed}[node.spec.address] == {"disk": "ssd"}
    assert [invocations(each) for each in joined.hosts.nodes[:3]] == others


NEWER = """
_encode = encode


def encode(record):
    value = _encode(record)
    if isinstance(record, UnitText):
        return value
    return json.dumps(json.loads(value) | {"from_a_newer_version": [None, "x"]}).encode()
"""


def test_an_upgrade_and_a_return_from_it_touch_no_unit(joined: Laptop, tmp_path: Path) -> None:
    """To a version that has one more field in every record that it writes."""
    nodes = joined.hosts.nodes[:3]
    (tmp_path / "w@.service").write_text(PLAIN)
    names = [f"w@{number}.service" for number in range(6)]
    assert joined("fleetctl", "start", *(str(tmp_path / name) for name in names)).returncode == 0
    ran, old = [of_units(node, names) for node in nodes], current(nodes[0])
    newer = wheel(tmp_path / "fleettui-9.1-py3-none-any.whl", records=NEWER)
    done = joined("fleetctl", "upgrade", "--to", str(newer))
    assert done.returncode == 0, done.stderr
    assert {current(node)[:13] for node in nodes} == {"versions/9.1-"}
    assert [of_units(node, names) for node in nodes] == ran
    assert asyncio.run(newer_records(joined)) >= {"machines", "states"}
    assert joined("fleetctl", "upgrade", "--to", str(newer)).stdout.startswith("Nothing to do")
    done = joined("fleetctl", "upgrade", "--rollback")
    assert done.returncode == 0, done.stderr
    assert {current(node) for node in nodes} == {old}
    assert [of_units(node, names) for node in nodes] == ran
    assert "w@5.service" in joined("fleetctl", "list-units").stdout
    assert joined("fleetctl", "destroy", *names).returncode == 0


def current(node: BareNode) -> str:
    return node.exec(["readlink", "/opt/fleet/current"]).stdout.strip()


async def newer_records(laptop: Laptop) -> set[str]:
    endpoint = f"https://{laptop.hosts.nodes[0].spec.address}:2379"
    async with Etcd(laptop.files.settings([endpoint], "root")) as etcd:
        kvs = (await etcd.range("/fleet/")).kvs
    return {kv.key.split("/")[2] for kv in kvs if b"from_a_newer_version" in kv.value}


def test_a_machine_leaves_when_its_units_have_found_another_and_is_as_it_was(
    joined: Laptop, before: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    node = joined.hosts.nodes[3]
    (tmp_path / "there.service").write_text(UNIT)
    assert joined("fleetctl", "start", str(tmp_path / "there.service")).returncode == 0
    assert node.exec(["systemctl", "is-active", "there.service"]).stdout == "active\n"
    unasked = joined("fleettui", "leave", node.name, "--purge")
    assert unasked.returncode == 1
    assert "add --yes" in unasked.stderr
    assert "there.service can run nowhere else" in unasked.stdout
    refused = joined("fleettui", "leave", node.name, "--purge", "--yes")
    assert refused.returncode == 1
    assert "no other machine takes there.service" in refused.stderr
    assert node.exec(["systemctl", "is-active", "there.service"]).stdout == "active\n"
    assert joined("fleetctl", "destroy", "there.service").returncode == 0
    done = joined.documented("README.md", "one more", 1)
    assert done.returncode == 0, done.stderr
    assert traces(node, before) == {}
    assert len(json.loads(joined("fleetctl", "list-machines", "--json").stdout)) == 3


def test_members_leave_as_long_as_there_is_a_quorum_and_the_last_ends_the_fleet(
    joined: Laptop, before: dict[str, dict[str, str]]
) -> None:
    first, second, third = joined.hosts.nodes[:3]
    second.exec(["systemctl", "stop", "fleet-etcd"], timeout_s=60)
    refused = joined("fleettui", "leave", third.name, "--purge", "--yes")
    assert refused.returncode == 1
    assert "1 of 2 members of the registry answer, and 2 are needed" in refused.stderr
    second.exec(["systemctl", "start", "fleet-etcd"], timeout_s=60)
    for node in (third, second):
        eventually("it may leave", partial(left, joined, node), timeout_s=120, interval_s=1)
        assert traces(node, before) == {}
    refused = joined("fleettui", "leave", first.name, "--purge", "--yes")
    assert refused.returncode == 1
    assert "--last" in refused.stderr
    done = joined("fleettui", "leave", first.name, "--purge", "--last", "--yes")
    assert done.returncode == 0, done.stderr
    assert traces(first, before) == {}
    assert not joined.files.directory.exists()
    assert not joined.files.usual.exists()


def left(laptop: Laptop, node: BareNode) -> bool:
    return laptop("fleettui", "leave", node.name, "--purge", "--yes").returncode == 0


def traces(node: BareNode, before: dict[str, dict[str, str]]) -> dict[str, tuple[str | None, str | None]]:
    """What differs on the disk of a host from before it joined."""
    was, now = before[node.name], node.root.listing()
    return {path: (was.get(path), now.get(path)) for path in {*was, *now} if was.get(path) != now.get(path)}
