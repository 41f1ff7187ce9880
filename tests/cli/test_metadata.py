"""Metadata at run time: set over the machine's own, hidden, and left to the machine again."""

from __future__ import annotations

import pytest

from fleettui.actions.metadata import to_set, to_unset
from registry.errors import UserError
from registry.model import Override
from registry.records import decode
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import ONE, Fleet


def override(fleet: Fleet) -> tuple[tuple[str, str], ...] | None:
    key = fleet.keys.override(ONE)
    value, address = fleet.get(key), fleet.keys.parse(key)
    if value is None or address is None:
        return None
    record = decode(address, value, key)
    assert isinstance(record, Override)
    return record.metadata


@pytest.mark.etcd
def test_metadata_is_set_hidden_and_left_to_the_machine_again(fleetctl: Fleetctl, fleet: Fleet) -> None:
    done = fleetctl("set-metadata", "core-1", "region=mars", "disk=ssd")
    assert done.stdout == "Machine 7aea1bb4.../10.199.0.11 disk=ssd,node=n1,region=mars\n", done.stderr
    assert override(fleet) == (("disk", "ssd"), ("region", "mars"))
    assert "disk=ssd,node=n1" in fleetctl("set-metadata", "core-1", "region=").stdout
    assert override(fleet) == (("disk", "ssd"), ("region", ""))
    assert "node=n1,region=r1" in fleetctl("unset-metadata", "core-1", "region", "disk").stdout
    assert override(fleet) is None, "nothing is set any more"


@pytest.mark.etcd
def test_what_another_version_allows_on_a_machine_is_not_taken_for_nothing(
    fleetctl: Fleetctl, fleet: Fleet
) -> None:
    later = b'{"availability":"hibernating","metadata":[["disk","ssd"]]}'
    fleet.put(fleet.keys.override(ONE), later)
    done = fleetctl("set-metadata", "core-1", "region=mars")
    assert done.returncode == 1
    assert "availability 'hibernating' is not known to this version" in done.stderr
    assert "cordon or uncordon it first" in done.stderr
    assert fleet.get(fleet.keys.override(ONE)) == later
    assert fleetctl("uncordon", "core-1").returncode == 0
    assert override(fleet) is None, "an operator's own word counts"


@pytest.mark.etcd
def test_fields_of_another_version_stay_on_a_machine(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.put(fleet.keys.override(ONE), b'{"later":{"until":5}}')
    fleetctl("set-metadata", "core-1", "region=mars")
    fleetctl("unset-metadata", "core-1", "region")
    assert b'"later":{"until":5}' in (fleet.get(fleet.keys.override(ONE)) or b"")


@pytest.mark.etcd
def test_of_several_machines_the_known_ones_are_changed(fleetctl: Fleetctl, fleet: Fleet) -> None:
    done = fleetctl("set-metadata", "core-1", "core-9", "region=mars")
    assert done.returncode == 1
    assert "no machine is called 'core-9'" in done.stderr
    assert override(fleet) == (("region", "mars"),)


@pytest.mark.parametrize(
    ("words", "told"),
    [(["core-1"], "no KEY=VALUE is given"), (["region=x"], "no machine is given"),
     (["core-1", "a b=c"], "not usable"), (["core-1", "=c"], "not key=value")],
)  # fmt: skip
def test_what_is_missing_or_malformed_is_told(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        to_set(words)


def test_to_unset_wants_a_key() -> None:
    assert to_unset(["core-1", "region", "disk"]) == (("core-1",), {"region": None, "disk": None})
    with pytest.raises(UserError, match="no KEY is given"):
        to_unset(["core-1"])
