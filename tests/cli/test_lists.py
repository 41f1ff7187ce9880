"""The three lists, word for word and column for column."""

from __future__ import annotations

import json
import re

import pytest
from rich.cells import cell_len

from fleettui.cli.output import ListFormat, table
from registry.model import Availability, Duplicate, Override, Pending, Target
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import HELLO, ONE, THREE, TWO, Fleet
from tests.etcd_server import EtcdServer, free_ports

pytestmark = pytest.mark.etcd


@pytest.mark.parametrize("verb", ["list-machines", "list-units", "list-unit-files"])
def test_the_help_of_a_list_names_every_field_that_it_knows(fleetctl: Fleetctl, verb: str) -> None:
    refused = fleetctl(verb, "--fields=nonsense")
    known = refused.stderr.splitlines()[0].partition("the fields are ")[2].split(",")
    (line,) = [each for each in fleetctl(verb, "--help").stdout.splitlines() if each.startswith("fields: ")]
    assert sorted(re.findall(r"[a-z]+", line.partition(" ")[2].replace("(shown)", ""))) == sorted(known)


def columns(text: str) -> list[list[str]]:
    """A table as its cells: columns are two blanks apart or more."""
    return [re.split(r" {2,}", line) for line in text.splitlines()]


@pytest.mark.usefixtures("fleet")
def test_machines_are_listed_with_short_ids_address_and_metadata(fleetctl: Fleetctl) -> None:
    listed = fleetctl("list-machines")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert columns(listed.stdout) == [
        ["MACHINE", "IP", "METADATA"],
        ["7aea1bb4...", "10.199.0.11", "node=n1,region=r1"],
        ["8bfb2cc5...", "10.199.0.12", "node=n2,region=r2"],
        ["9c0c3dd6...", "10.199.0.13", "node=n3,region=r3"],
    ]


def test_machines_show_what_the_operator_set_at_run_time(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.override(Override(ONE, Availability.DRAINING, (("node", ""), ("rack", "7"))))
    fleet.run("hello.service")
    listed = fleetctl(
        "list-machines", "-l", "--no-legend", "--fields=machine,hostname,units,state,version,metadata"
    )
    assert columns(listed.stdout)[0] == [ONE, "core-1", "1", "draining", "0.1.0", "rack=7,region=r1"]
    assert columns(listed.stdout)[1] == [TWO, "core-2", "0", "ready", "0.1.0", "node=n2,region=r2"]


@pytest.mark.usefixtures("fleet")
def test_machines_as_json_carry_whole_ids_and_types(fleetctl: Fleetctl) -> None:
    listed = json.loads(fleetctl("list-machines", "--json").stdout)
    assert [each["machine"] for each in listed] == [ONE, TWO, THREE]
    assert listed[0]["metadata"] == {"node": "n1", "region": "r1"}
    assert listed[0]["units"] == 0


def test_a_second_machine_with_an_id_shows_without_being_asked_for(fleetctl: Fleetctl, fleet: Fleet) -> None:
    twin = Duplicate(ONE, "boot9", "core-9", "10.199.0.19")
    fleet.put(fleet.keys.duplicate(ONE, twin.boot_id), twin)
    listed = fleetctl("list-machines")
    assert columns(listed.stdout)[:3] == [
        ["MACHINE", "IP", "METADATA", "STATE"],
        ["7aea1bb4...", "10.199.0.11", "node=n1,region=r1", "ready,duplicate"],
        ["8bfb2cc5...", "10.199.0.12", "node=n2,region=r2", "ready"],
    ]
    assert listed.stderr.startswith(
        f"WARNING: core-9 at 10.199.0.19 has the id of {ONE}/10.199.0.11 and does nothing"
    )
    assert "systemd-machine-id-setup && systemctl restart fleet-agentd" in listed.stderr
    full = fleetctl("list-machines", "--full", "--no-legend")
    assert columns(full.stdout)[0][-1] == "ready,duplicate id of core-9 at 10.199.0.19"
    asked = fleetctl("list-machines", "--fields=machine", "--no-legend")
    assert columns(asked.stdout)[0] == ["7aea1bb4..."]
    assert "core-9" in asked.stderr


@pytest.mark.usefixtures("fleet")
def test_an_endpoint_that_is_down_is_a_warning_and_no_error(fleetctl: Fleetctl, etcd: EtcdServer) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    endpoints = {"FLEETCTL_ENDPOINT": f"{dead},{etcd.endpoints[0]}"}
    for _ in range(20):  # a client picks its endpoint at random, and asks the other only when it has to
        listed = fleetctl("list-machines", **endpoints)
        assert listed.returncode == 0
        assert "7aea1bb4..." in listed.stdout
        if listed.stderr:
            break
    warning = f"WARNING: 1 of 2 etcd endpoints answer: {dead} does not (connection refused)\n"
    assert listed.stderr == warning
    assert warning in fleetctl("drain", "core-3", **endpoints).stderr, "a verb that waits asks all of them"


def test_units_are_one_row_for_each_machine(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.run("hello.service")
    for machine in (ONE, TWO):
        fleet.assign(fleet.add("global.service", Target.LAUNCHED), machine)
        fleet.report(fleet.add("global.service", Target.LAUNCHED), machine)
    listed = fleetctl("list-units")
    assert columns(listed.stdout) == [
        ["UNIT", "MACHINE", "ACTIVE", "SUB"],
        ["global.service", "7aea1bb4.../10.199.0.11", "active", "running"],
        ["global.service", "8bfb2cc5.../10.199.0.12", "active", "running"],
        ["hello.service", "7aea1bb4.../10.199.0.11", "active", "running"],
    ]
    full = fleetctl("list-units", "--full", "--no-legend", "--fields", "hash,load,machine,unit").stdout
    assert columns(full)[2] == [unit.hash, "loaded", f"{ONE}/10.199.0.11", "hello.service"]


def test_a_unit_that_waits_has_a_row_with_its_reason(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.add("mars.service", Target.LAUNCHED)
    fleet.wait(unit, Pending(unit.name, unit.hash, 1, "no machine has region=mars"))
    assert columns(fleetctl("list-units").stdout)[1] == ["mars.service", "-", "-", "-"]
    told = fleetctl("list-units", "--no-legend", "--fields=unit,reason").stdout
    assert columns(told) == [["mars.service", "no machine has region=mars"]]


def test_each_row_of_a_global_unit_tells_its_own_machine_s_truth(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.run("all.service")
    for machine in (TWO, THREE):
        fleet.assign(unit, machine)
    fleet.report(unit, TWO, "failed", "failed", error="start failed: exit code 3")
    fleet.report(unit, THREE, "inactive", "dead", skipped="condition not met: ConditionPathExists=/nope")
    fleet.wait(unit, Pending(unit.name, unit.hash, 1, "1 of 4 machines refuse"))
    rows = json.loads(fleetctl("list-units", "--json").stdout)
    assert [(row["machine"], row["active"], row["reason"]) for row in rows] == [
        (ONE, "active", ""),
        (TWO, "failed", "start failed: exit code 3"),
        (THREE, "inactive", "condition not met: ConditionPathExists=/nope"),
        ("", "", "1 of 4 machines refuse"),
    ]
    told = fleetctl("why", "all").stdout.splitlines()
    assert told[0] == (
        "all.service: wanted launched; failed: on 1 of 3 machines (core-2): start failed: exit code 3"
    )
    assert told[1:4] == [
        "  7aea1bb4.../10.199.0.11  active (running)",
        "  8bfb2cc5.../10.199.0.12  failed: start failed: exit code 3",
        "  9c0c3dd6.../10.199.0.13  not started: condition not met: ConditionPathExists=/nope",
    ]
    record = json.loads(fleetctl("why", "--json", "all").stdout)[0]
    assert [(each["machine"], each["progress"]) for each in record["places"]] == [
        (ONE, "reached"), (TWO, "failed"), (THREE, "reached"),
    ]  # fmt: skip


def test_a_unit_that_was_killed_later_says_so_on_its_row(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.report(fleet.run("bb.service"), ONE, "failed", "failed", result="signal", exit_code=9)
    told = fleetctl("list-units", "--no-legend", "--fields=unit,active,reason").stdout
    assert columns(told) == [["bb.service", "failed", "it failed (signal, killed by signal 9)"]]
    fleet.report(fleet.run("bb.service"), ONE, "failed", "failed", cause="exit code 1 in ExecReload=/bin/x")
    assert "it failed: exit code 1 in ExecReload=/bin/x" in fleetctl("list-units", "--fields=reason").stdout


def test_why_tells_that_a_unit_has_ended_and_how_to_run_it_again(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.report(fleet.run("once.service"), ONE, "inactive", "dead")
    told = fleetctl("why", "once").stdout.splitlines()
    assert told[0] == "once.service: wanted launched; it has ended on 7aea1bb4.../10.199.0.11"
    assert "fleetctl start once.service runs it again" in told[1]


def test_why_keeps_a_reason_and_the_place_of_the_unit_apart(fleetctl: Fleetctl, fleet: Fleet) -> None:
    for name, error in (
        ("slow.service", "start timed out; raise TimeoutStartSec= if it needs longer"),
        ("wait.timer", "waits for wait.service, which is not loaded on core-1"),
    ):
        fleet.report(fleet.run(name), ONE, "failed", "failed", error=error)
        told = fleetctl("why", name).stdout.splitlines()[0]
        assert told.endswith(f": {error} (on 7aea1bb4.../10.199.0.11)")


def test_a_lost_machine_is_not_shown_as_running(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("hello.service", TWO)
    fleet.delete(fleet.keys.machine(TWO))
    fleet.delete(fleet.keys.state(TWO, "hello.service"))
    assert columns(fleetctl("list-units", "--no-legend").stdout) == [["hello.service", "8bfb2cc5...", "-", "-"]]


def test_unit_files_tell_wanted_and_present_state(fleetctl: Fleetctl, fleet: Fleet) -> None:
    sha = fleet.add("hello.service").hash[:7]
    fleet.run("hello@1.service")
    fleet.run("hello@2.service", TWO, Target.LOADED)
    listed = fleetctl("list-unit-files")
    assert columns(listed.stdout) == [
        ["UNIT", "HASH", "DSTATE", "STATE", "TARGET"],
        ["hello.service", sha, "inactive", "inactive", "-"],
        ["hello@1.service", sha, "launched", "launched", "7aea1bb4.../10.199.0.11"],
        ["hello@2.service", sha, "loaded", "loaded", "8bfb2cc5.../10.199.0.12"],
    ]


def test_unit_files_read_the_texts_only_when_they_must(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("all.service", text=f"[Unit]\nDescription=Everywhere %p\n{HELLO}[X-Fleet]\nGlobal=true\n")
    told = fleetctl("list-unit-files", "--no-legend", "--fields=unit,global,desc").stdout
    assert columns(told) == [["all.service", "true", "Everywhere all"]]
    record = json.loads(fleetctl("list-unit-files", "--json").stdout)[0]
    assert (record["global"], record["target"], len(record["hash"])) == (True, [], 64)


@pytest.mark.parametrize("command", ["list-machines", "list-units", "list-unit-files"])
def test_a_corrupt_record_is_named_and_harms_no_other(fleetctl: Fleetctl, fleet: Fleet, command: str) -> None:
    fleet.run("hello.service")
    for key in (fleet.keys.machine("beef"), fleet.keys.state(ONE, "bad.service"), fleet.keys.unit("bad.service")):
        fleet.put(key, b'{"surprise": 1}')
    listed = fleetctl(command)
    assert listed.returncode == 0
    assert f"WARNING: corrupt registry record {fleet.keys.prefix}" in listed.stderr
    assert "is missing" in listed.stderr
    assert "7aea1bb4..." in listed.stdout


def test_control_characters_of_the_registry_do_not_reach_the_table(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("evil.service", text=f"[Unit]\nDescription=\x1b[31mred\x07\n{HELLO}")
    told = fleetctl("list-unit-files", "--fields=desc").stdout
    assert "red" in told
    assert "\x1b" not in told
    assert "\x07" not in told


@pytest.mark.parametrize("command", ["list-machines", "list-units", "list-unit-files"])
@pytest.mark.usefixtures("fleet")
def test_an_unknown_field_is_refused_with_those_that_exist(fleetctl: Fleetctl, command: str) -> None:
    refused = fleetctl(command, "--fields=unit,shoe")
    assert refused.returncode == 2
    assert "unknown field" in refused.stderr
    assert "the fields are" in refused.stderr


def test_why_names_every_machine_with_its_refusal(fleetctl: Fleetctl, fleet: Fleet) -> None:
    text = HELLO + "[X-Fleet]\nMachineMetadata=region=mars\n"
    unit = fleet.add("mars.service", Target.LAUNCHED, text)
    fleet.wait(unit, Pending(unit.name, unit.hash, 1, "no machine has region=mars"))
    told = fleetctl("why", "mars")
    assert told.returncode == 0
    assert told.stdout.splitlines() == [
        "mars.service: wanted launched; waiting: no machine has region=mars",
        "  7aea1bb4.../10.199.0.11  metadata region=mars required; it has region=r1",
        "  8bfb2cc5.../10.199.0.12  metadata region=mars required; it has region=r2",
        "  9c0c3dd6.../10.199.0.13  metadata region=mars required; it has region=r3",
    ]
    record = json.loads(fleetctl("why", "--json", "mars").stdout)[0]
    assert record["progress"] == "waiting"
    assert record["verdicts"][2]["machine"] == THREE
    assert record["verdicts"][2]["verdict"] == "refused"


def test_why_says_that_all_is_well_and_why_it_failed(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("good.service")
    fleet.report(fleet.run("bad.service"), ONE, "failed", "failed", result="exit-code", exit_code=203)
    told = fleetctl("why", "good", "bad").stdout.splitlines()
    assert told[0] == "good.service: wanted launched; it is on 7aea1bb4.../10.199.0.11"
    assert told[1].startswith(
        "bad.service: wanted launched; failed: it failed on 7aea1bb4... (exit-code, exit status 203)"
    )
    assert "fleetctl journal bad.service" in told[2]


def test_columns_are_aligned_by_what_a_terminal_shows() -> None:
    rows = [["漢字", "a"], ["cafe\u0301", "b"], ["plain", "c"], ["", "d"]]
    lines = table(rows, ListFormat(("name", "x")))
    assert lines == ["NAME   X", "漢字   a", "cafe\u0301   b", "plain  c", "-      d"]
    assert {cell_len(line) for line in lines} == {8}
