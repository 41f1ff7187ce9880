"""Names and addresses of local clusters."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleettui.demo import nodefiles
from fleettui.demo.layout import layout
from registry.errors import UserError
from registry.program.config import load


def test_a_demo_and_a_test_run_share_no_name_address_or_port() -> None:
    demo, test = layout("demo", 3), layout("test", 3)
    for attribute in ("bridge", "host_address", "operator_endpoint", "peer_endpoint", "state", "cgroup_prefix"):
        assert getattr(demo, attribute) != getattr(test, attribute)
    assert not {n.machine_id for n in demo.nodes} & {n.machine_id for n in test.nodes}


def test_machines_are_named_as_documented() -> None:
    first, _, third = layout("demo", 3).nodes
    assert (first.name, first.machine, first.address, first.link) == (
        "core-1",
        "demo-core-1",
        "10.91.0.11",
        "vb-demo-core-1",
    )
    assert first.metadata == {"node": "n1", "region": "r1"}
    assert third.metadata["region"] == "r2"
    assert len(first.machine_id) == 32


def test_interface_names_fit_the_kernel() -> None:
    assert len(layout("a" * 12, 1).bridge) <= 15


@pytest.mark.parametrize("name", ["", "Demo", "de mo", "a" * 13, "../x", "1st"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="cluster name"):
        layout(name, 3)


@pytest.mark.parametrize("size", [0, 41])
def test_a_bad_size_is_refused(size: int) -> None:
    with pytest.raises(UserError, match="1 to 40"):
        layout("demo", size)


def test_the_configurations_written_are_the_ones_the_programs_read(tmp_path: Path) -> None:
    plan = layout("demo", 3)
    node, operator = tmp_path / "node.toml", tmp_path / "operator.toml"
    node.write_text(nodefiles.node_config(plan.nodes[2], plan, "5s"))
    operator.write_text(nodefiles.operator_config(plan, "operator"))
    agent = load(node, {})
    assert agent.etcd.endpoints == ("https://10.91.0.1:2379",)
    assert (agent.etcd.username, agent.etcd.ca_file) == (f"agent-{plan.nodes[2].machine_id}", "/etc/fleet/ca.pem")
    assert load(operator, {}).etcd.password_file == "/var/lib/fleet/clusters/demo/access/operator.password"
    assert (agent.agent.ttl, dict(agent.agent.metadata)) == (5.0, {"node": "n3", "region": "r2"})
    assert load(operator, {}).ssh.identity_files == ("/var/lib/fleet/clusters/demo/id_ed25519",)


def test_several_members_of_etcd_have_addresses_and_links_of_their_own(tmp_path: Path) -> None:
    plan = layout("demo", 3, 3)
    members = {each.address for each in plan.etcd_members}
    addresses = members | {each.address for each in plan.nodes} | {plan.host_address}
    assert len(addresses) == 7
    assert all(len(each.link) <= 15 for each in layout("a" * 12, 3, 5).etcd_members)
    node = tmp_path / "node.toml"
    node.write_text(nodefiles.node_config(plan.nodes[0], plan, "5s"))
    assert load(node, {}).etcd.endpoints == tuple(each.endpoint for each in plan.etcd_members)
    assert not layout("demo", 3).etcd_members


def test_an_etcd_that_could_lose_its_quorum_to_a_tie_is_refused() -> None:
    with pytest.raises(UserError, match="1, 3 or 5"):
        layout("demo", 3, 2)
