"""What journald on real machines shows of what the daemons do: by unit, by kind of message, by priority."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from registry.messages import DECIDED, JOINED, LEADING, UNIT_FAILED, UNIT_LOAD, UNIT_START, UNIT_STOP
from tests.cluster.fleet import Fleet
from tests.cluster.nodes import eventually

AGENT = "fleet-agentd.service"
TALKER = "[Service]\nExecStart=/bin/sh -c 'echo I speak; exec sleep infinity'\n"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


def entries(node: Node, *arguments: str) -> list[dict[str, Any]]:
    node.exec(["journalctl", "--sync"])
    return [json.loads(line) for line in node.journal("-o", "json", *arguments).splitlines()]


def of_agent(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in found if each.get("SYSLOG_IDENTIFIER") == "fleet-agentd"]


def test_the_journal_of_a_unit_shows_what_the_agent_does_to_it(cluster: Cluster, tmp_path: Path) -> None:
    fleet = Fleet(cluster, tmp_path)
    fleet.start("spoken@1.service", text=TALKER)
    fleet.ctl("stop", "spoken@1")
    fleet.start("spoken@2.service", text=TALKER)
    node = cluster.node(next(iter(fleet.settled("spoken@2.service", 1).values())))
    found = eventually("the agent's lines", lambda: of_agent(entries(node, "-u", "spoken@2")))
    kinds = [each["MESSAGE_ID"] for each in found]
    assert kinds == [UNIT_LOAD.id, UNIT_START.id]
    assert {each["FLEET_UNIT"] for each in found} == {"spoken@2.service"}
    assert {each["PRIORITY"] for each in found} == {"6"}
    assert {each["_SYSTEMD_UNIT"] for each in found} == {AGENT}
    text = node.journal("-u", "spoken@2", "-o", "cat")
    assert text.index("spoken@2.service: start (") < text.index("I speak")
    assert of_agent(entries(node, "FLEET_UNIT=spoken@2.service")) == found
    assert "spoken@2.service: start (" in fleet.ctl("journal", "spoken@2").stdout
    stopped = {each["FLEET_UNIT"] for other in cluster.nodes.values()
               for each in entries(other, f"MESSAGE_ID={UNIT_STOP.id}", "-b")}  # fmt: skip
    assert "spoken@1.service" in stopped
    assert "spoken@1.service" not in text


def test_what_failed_is_found_by_its_kind_and_priority(cluster: Cluster, tmp_path: Path) -> None:
    fleet = Fleet(cluster, tmp_path)
    fleet.fails("start", fleet.write("nowhere.service", "[Service]\nType=oneshot\nExecStart=/nowhere\n"))

    def failed() -> list[dict[str, Any]]:
        found = [each for node in cluster.nodes.values() for each in entries(node, f"MESSAGE_ID={UNIT_FAILED.id}")]
        return [each for each in found if each["FLEET_UNIT"] == "nowhere.service"]

    found = eventually("the failure", failed)
    assert {(each["PRIORITY"], each["OBJECT_SYSTEMD_UNIT"]) for each in found} == {("4", "nowhere.service")}


def test_the_daemons_own_journals_have_kinds_and_are_whole(cluster: Cluster, tmp_path: Path) -> None:
    fleet = Fleet(cluster, tmp_path)
    fleet.start("a.service")
    nodes = cluster.nodes.values()
    assert all(entries(node, "-u", AGENT, f"MESSAGE_ID={JOINED.id}", "-b") for node in nodes)
    for kind in (LEADING, DECIDED):
        found = [each for node in nodes for each in entries(node, f"MESSAGE_ID={kind.id}")]
        assert {each["SYSLOG_IDENTIFIER"] for each in found} == {"fleet-scheduler"}
    node = cluster.node("core-1")
    old = node.exec(["systemctl", "show", "-P", "MainPID", AGENT]).stdout.strip()
    node.exec(["systemctl", "restart", AGENT])
    last = entries(node, "-u", AGENT, f"_PID={old}")[-1]
    assert last["MESSAGE"] == "ending; every unit is left as it is"
