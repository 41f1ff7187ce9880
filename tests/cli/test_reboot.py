"""What `fleetctl reboot` refuses before it drains anything; tests/cluster/test_rollouts.py boots machines."""

from __future__ import annotations

import pytest

from fleettui.cli.reboot import check_members
from registry.errors import UserError
from registry.etcd import Member
from registry.model import Machine

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
