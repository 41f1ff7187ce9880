"""What has changed of a machine or of its settings is taken by a restart of its agent, and no unit notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from registry.errors import LeaseLost
from registry.etcd import Etcd, KeyValue
from registry.keys import Keys
from tests.cluster.hand import AGENT, Hand
from tests.cluster.nodes import eventually, registry

KEYS = Keys()
TEXT = "[Service]\nExecStart=/bin/sleep infinity\n"
UNITS = [f"t{number}.service" for number in range(130)]  # more than one transaction takes


def read(hand: Hand) -> dict[str, KeyValue]:
    """The machine's key and those of its states."""

    async def ranged() -> dict[str, KeyValue]:
        async with Etcd(hand.cluster.as_root) as etcd:
            found = [*(await etcd.range(KEYS.state(hand.machine))).kvs, await etcd.get(KEYS.machine(hand.machine))]
        return {kv.key: kv for kv in found if kv is not None}

    return asyncio.run(ranged())


def left_s(hand: Hand, lease: int) -> float:
    """Seconds that a lease has left; 0 when it has ended."""

    async def asked() -> float:
        async with Etcd(hand.cluster.as_root) as etcd:
            try:
                return await etcd.lease_time_to_live(lease)
            except LeaseLost:
                return 0.0

    return asyncio.run(asked())


def restart(hand: Hand) -> None:
    old = hand.show(AGENT, "MainPID")
    hand.shell(f"systemctl restart {AGENT}")
    hand.back(old)


def give(hand: Hand, ttl: str) -> None:
    hand.shell(f"sed -i 's/^ttl = .*/ttl = \"{ttl}\"/' /etc/fleet/fleet.toml; grep -q {ttl} /etc/fleet/fleet.toml")
    restart(hand)


@pytest.fixture
def settings(hand: Hand) -> Iterator[Hand]:
    """A hand on a node whose configuration and names are put back afterwards."""
    hand.shell("cp /etc/fleet/fleet.toml /run/fleet.toml.kept")
    yield hand
    hand.shell(
        "cp /run/fleet.toml.kept /etc/fleet/fleet.toml; hostname core-1; rm -f /etc/ssh/ssh_host_new_key.pub"
    )
    restart(hand)


pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def test_another_ttl_moves_everything_to_another_lease_in_place(settings: Hand) -> None:
    hand = settings
    hand.put(dict.fromkeys(UNITS, TEXT))
    hand.launched(UNITS[-1], within_s=120)
    eventually("all launched", lambda: _launched(hand) == len(UNITS), timeout_s=120)
    runs = hand.show("t*.service", "InvocationID")
    give(hand, "60s")  # a busy host may restart an agent more slowly than the tests' short lease lasts
    before = read(hand)
    give(hand, "31s")
    after = read(hand)
    assert {key: kv.create_revision for key, kv in after.items()} == {
        key: kv.create_revision for key, kv in before.items()
    }
    old, new = ({kv.lease for kv in found.values()} for found in (before, after))
    assert len(old) == len(new) == 1
    assert old != new
    assert left_s(hand, new.pop()) > 20
    eventually("the old lease ended", lambda: left_s(hand, next(iter(old))) == 0)
    assert read(hand).keys() == before.keys()
    assert hand.show("t*.service", "InvocationID") == runs


def test_another_host_name_and_host_key_are_taken_by_a_restart(settings: Hand) -> None:
    hand = settings
    hand.put({"h.service": TEXT})
    hand.launched("h.service")
    run = hand.show("h.service", "InvocationID")
    hand.shell("hostname renamed; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_new_key")
    new = hand.shell("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_new_key.pub")
    restart(hand)

    def taken() -> bool:
        record = json.loads(registry(hand.cluster, f"machines/{hand.machine}").popitem()[1])
        return record["hostname"] == "renamed" and new in record["host_keys"]

    eventually("the new names", taken)
    assert hand.show("h.service", "InvocationID") == run


def test_1_a_machine_key_without_a_lease_is_taken_over_while_its_agent_runs(hand: Hand) -> None:
    hand.put({"w.service": TEXT})
    hand.launched("w.service")
    key, before = KEYS.machine(hand.machine), read(hand)
    hand.cluster.etcd.put(key, before[key].value.decode())
    eventually("the key under its lease again", lambda: read(hand)[key].lease == before[key].lease)
    hand.cluster.etcd.put(key, "{garbled")
    eventually("the key as it was", lambda: read(hand)[key].value == before[key].value)
    assert read(hand)[key].lease == before[key].lease


def _launched(hand: Hand) -> int:
    return sum(state.get("target") == "launched" for state in hand.states().values())
