"""What `fleetctl reboot` refuses before it drains anything; tests/cluster/test_rollouts.py boots machines."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fleettui.actions.operator import Operator
from fleettui.cli.reboot import check_members, check_rest, members_back, quorum_without
from registry.errors import UserError
from registry.etcd import Etcd, Member
from registry.keys import Keys
from registry.model import Machine
from tests.etcd_server import free_ports

ADDRESSES = ("10.0.0.1", "10.0.0.2", "fd00::3", "10.0.0.4", "10.0.0.5")
MACHINES = [
    Machine(f"{number:032x}", f"core-{number}", address, "boot") for number, address in enumerate(ADDRESSES, 1)
]


def members(number: int) -> list[Member]:
    urls = [f"https://[{each}]:2379" if ":" in each else f"https://{each}:2379" for each in ADDRESSES[:number]]
    return [Member(place, f"m{place}", (), (url,), learner=False) for place, url in enumerate(urls)]


@pytest.mark.parametrize(("of", "most"), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2)])
def test_no_more_members_are_booted_at_once_than_the_registry_can_do_without(of: int, most: int) -> None:
    check_members(members(of), [*MACHINES[:most], *MACHINES[of:]])
    check_members([], MACHINES)
    if of > most:
        with pytest.raises(UserError, match=f"of the registry's {of} members.*--at-a-time {most}$"):
            check_members(members(of), MACHINES[: most + 1])


def test_a_fleet_is_not_booted_as_a_whole() -> None:
    check_rest(["a"], ["a"], 1)  # there is no other way
    check_rest(["a", "b"], ["a", "b"], 1)
    check_rest(["a", "b", "c"], ["a", "b"], 10)
    with pytest.raises(UserError, match=r"all 3 machines would be down at once; .* --at-a-time 2, or fewer"):
        check_rest(["a", "b", "c"], ["a", "b", "c"], 10)


@pytest.mark.etcd
async def test_a_member_that_has_a_leader_is_waited_for_no_longer(etcd_client: Etcd, prefix: str) -> None:
    operator = Operator(etcd_client, Keys.under(prefix), "test@host")
    async with asyncio.timeout(20):
        await members_back(operator, [replace(MACHINES[0], address="127.0.0.1"), MACHINES[1]])


@pytest.mark.etcd
@pytest.mark.parametrize(("others", "refused"), [(2, False), (1, True), (0, True)])
async def test_a_member_is_not_booted_while_the_others_are_no_quorum(
    etcd_client: Etcd, prefix: str, monkeypatch: pytest.MonkeyPatch, others: int, *, refused: bool
) -> None:
    (here,) = await etcd_client.member_list()
    dead = replace(here, id=9, name="dead", client_urls=(f"http://127.0.0.1:{free_ports(1)[0]}",))
    leaving = replace(here, id=1, name="m1", client_urls=(f"http://{MACHINES[0].address}:2379",))
    listed = [leaving, *[here, replace(here, id=3)][:others], *[dead, replace(dead, id=10)][others:]]

    async def member_list() -> list[Member]:
        return listed

    monkeypatch.setattr(etcd_client, "member_list", member_list)
    operator = Operator(etcd_client, Keys.under(prefix), "test@host")
    if refused:
        with pytest.raises(UserError, match=rf"without a quorum while {MACHINES[0].hostname} boots: .* dead"):
            await quorum_without(operator, MACHINES[:1], 1.0)
    else:
        await quorum_without(operator, MACHINES[:1], 10.0)
    await quorum_without(operator, [replace(MACHINES[0], address="10.9.9.9")], 1.0)  # it has no member


@pytest.mark.etcd
async def test_a_registry_of_one_is_back_with_its_machine(etcd_client: Etcd, prefix: str) -> None:
    operator = Operator(etcd_client, Keys.under(prefix), "test@host")
    await quorum_without(operator, [replace(MACHINES[0], address="127.0.0.1")], 1.0)
