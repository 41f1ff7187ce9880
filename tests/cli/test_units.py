"""The verbs on units: what they write and what they say while the scheduler and the agents do their part."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from registry.model import Availability, Machine, Override, Pending, Target, Unit
from registry.units.file import file_hash
from tests.cli.conftest import PROGRAM, Fleetctl
from tests.cli.fleet import HELLO, ONE, THREE, TWO, Fleet, eventually

pytestmark = pytest.mark.etcd
LOST = "deadbeef" * 4
CHANGED = HELLO.replace("hello; sleep", "changed; sleep")


def finished(process: subprocess.Popen[str], timeout_s: float = 30) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def target_of(fleet: Fleet, name: str) -> Target | None:
    unit = fleet.unit(name)
    return unit.target if unit else None


def test_start_says_where_the_unit_was_launched(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleetctl.write("hello.service", HELLO)
    process = fleetctl.start("start", "hello.service")
    eventually(lambda: target_of(fleet, "hello.service") is Target.LAUNCHED)
    unit = fleet.unit("hello.service")
    assert unit
    fleet.assign(unit, ONE)
    fleet.report(unit, ONE)
    assert finished(process) == (0, "Unit hello.service launched on 7aea1bb4.../10.199.0.11\n", "")
    assert fleet.get(fleet.keys.file(unit.hash)) == HELLO.encode()
    assert unit.by.count("@") == 1


def test_load_stop_unload_and_destroy_speak_fleets_words(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.run("hello.service", target=Target.LOADED)
    assert fleetctl("load", "hello").stdout == "Unit hello.service loaded on 7aea1bb4.../10.199.0.11\n"
    assert fleetctl("stop", "hello").stdout == "Unit hello.service loaded on 7aea1bb4.../10.199.0.11\n"
    process = fleetctl.start("unload", "hello")
    eventually(lambda: target_of(fleet, "hello.service") is Target.INACTIVE)
    fleet.delete(fleet.keys.schedule(ONE, unit.name))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.6)  # its state is there: it is not stopped yet
    fleet.delete(fleet.keys.state(ONE, unit.name))
    assert finished(process) == (0, "Unit hello.service inactive\n", "")
    assert fleetctl("destroy", "hello").stdout == "Destroyed hello.service\n"
    assert fleet.unit("hello.service") is None


def test_destroy_returns_when_the_processes_are_gone(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.run("hello.service")
    process = fleetctl.start("destroy", "hello.service")
    eventually(lambda: fleet.unit("hello.service") is None)
    fleet.delete(fleet.keys.schedule(ONE, unit.name))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.6)
    fleet.delete(fleet.keys.state(ONE, unit.name))
    assert finished(process) == (0, "Destroyed hello.service\n", "")


@pytest.mark.parametrize("verb", ["destroy", "unload"])
def test_what_a_machine_that_is_lost_meanwhile_still_runs_is_not_said_to_be_gone(
    fleetctl: Fleetctl, fleet: Fleet, verb: str
) -> None:
    fleet.run("hello.service")
    fleet.run("other.service", TWO)
    process = fleetctl.start(verb, "hello", "other")
    eventually(lambda: target_of(fleet, "hello.service") in (None, Target.INACTIVE))
    for machine, name in ((ONE, "hello.service"), (TWO, "other.service")):
        fleet.delete(fleet.keys.schedule(machine, name))
    fleet.delete(fleet.keys.state(TWO, "other.service"))
    assert process.stdout
    assert "other.service" in process.stdout.readline()  # what was confirmed is told at once, and no more than that
    fleet.delete(fleet.keys.machine(ONE))
    fleet.delete(fleet.keys.state(ONE, "hello.service"))
    code, out, err = finished(process)
    assert (code, out) == (1, "")
    assert (
        "hello.service: 7aea1bb4... was lost before it had stopped; it may run there until that machine is" in err
    )


def test_a_machine_that_leaves_in_order_has_stopped_what_it_ran(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("hello.service")
    record = Machine(ONE, "core-1", "10.199.0.11", "boot1", leaving=True)
    fleet.put(fleet.keys.machine(ONE), record)
    process = fleetctl.start("destroy", "hello")
    eventually(lambda: fleet.unit("hello.service") is None)
    for key in (fleet.keys.schedule(ONE, "hello.service"), fleet.keys.machine(ONE)):
        fleet.delete(key)
    fleet.delete(fleet.keys.state(ONE, "hello.service"))
    assert finished(process) == (0, "Destroyed hello.service\n", "")


def test_a_state_that_does_not_parse_is_no_proof_of_a_stop(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("hello.service")
    fleet.put(fleet.keys.state(ONE, "hello.service"), b"{not json")
    fleet.delete(fleet.keys.schedule(ONE, "hello.service"))
    done = fleetctl("destroy", "hello")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the record {fleet.keys.state(ONE, 'hello.service')} does not parse, so it may still run" in done.stderr


def test_a_drain_does_not_count_what_a_lost_machine_took_along(fleetctl: Fleetctl, fleet: Fleet) -> None:
    for name in ("first.service", "hello.service"):
        fleet.run(name)
    process = fleetctl.start("drain", "core-1")
    eventually(lambda: fleet.get(fleet.keys.override(ONE)))
    assert process.stdout
    assert process.stdout.readline().endswith("draining\n")
    while True:  # until it has seen what is there
        fleet.run("first.service")
        fleet.delete(fleet.keys.schedule(ONE, "first.service"))
        fleet.delete(fleet.keys.state(ONE, "first.service"))
        if select.select([process.stdout], [], [], 1.0)[0]:
            break
    assert process.stdout.readline().startswith("Unit first.service left ")
    fleet.delete(fleet.keys.machine(ONE))
    fleet.delete(fleet.keys.state(ONE, "hello.service"))
    fleet.delete(fleet.keys.schedule(ONE, "hello.service"))
    code, out, err = finished(process)
    assert code == 1
    assert "drained" not in out
    assert "hello.service" not in out
    assert "was lost; 1 unit had not left and may run there until it is back" in err


def test_a_machine_that_is_away_is_not_said_to_be_drained(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.override(Override(ONE, Availability.CORDONED))
    fleet.delete(fleet.keys.machine(ONE))
    done = fleetctl("drain", ONE)
    assert done.returncode == 1
    assert "drained" not in done.stdout
    assert "is lost; what it still runs is not known" in done.stderr


def test_a_machine_that_keeps_a_unit_says_why_while_destroy_waits(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.run("hello.service")
    process = fleetctl.start("destroy", "hello.service")
    eventually(lambda: fleet.unit("hello.service") is None)
    fleet.delete(fleet.keys.schedule(ONE, unit.name))
    fleet.report(unit, ONE, "failed", "failed", error="stop failed: 2 of its processes live on (pid 7, 8)")
    assert process.stderr
    told = process.stderr.readline()
    assert "hello.service is still on 7aea1bb4.../10.199.0.11: stop failed: 2 of its processes live on" in told
    fleet.delete(fleet.keys.state(ONE, unit.name))
    assert finished(process)[:2] == (0, "Destroyed hello.service\n")


def test_restart_adds_a_generation_and_waits_for_it(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("hello.service")
    process = fleetctl.start("restart", "hello.service")
    eventually(lambda: (unit := fleet.unit("hello.service")) is not None and unit.generation == 2)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.6)  # the old generation is not an arrival
    unit = fleet.unit("hello.service")
    assert unit
    fleet.assign(unit, ONE)
    fleet.report(unit, ONE)
    assert finished(process) == (0, "Unit hello.service launched on 7aea1bb4.../10.199.0.11\n", "")


def test_restart_of_what_is_not_launched_is_refused(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    done = fleetctl("restart", "hello.service")
    assert done.returncode == 1
    assert "is inactive, not launched; see: fleetctl start hello.service" in done.stderr


def test_a_global_unit_arrives_on_each_machine(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.run("all.service")
    fleet.assign(unit, TWO)
    fleet.report(unit, TWO)
    assert fleetctl("start", "all.service").stdout.splitlines() == [
        "Unit all.service launched on 7aea1bb4.../10.199.0.11",
        "Unit all.service launched on 8bfb2cc5.../10.199.0.12",
    ]


def test_no_block_returns_at_once(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    assert fleetctl("start", "--no-block", "hello.service").stdout == "Triggered unit hello.service start\n"
    assert fleetctl("stop", "--block-attempts=-1", "hello.service").stdout == "Triggered unit hello.service stop\n"
    assert target_of(fleet, "hello.service") is Target.LOADED


def test_what_cannot_be_placed_fails_at_once_with_its_reason_after_the_others(
    fleetctl: Fleetctl, fleet: Fleet
) -> None:
    fleet.run("hello.service")
    unit = fleet.add("mars.service", Target.LAUNCHED)
    fleet.wait(unit, Pending(unit.name, unit.hash, 1, "no machine has region=mars"))
    begun = time.monotonic()
    done = fleetctl("start", "mars", "hello")
    assert time.monotonic() - begun < 15
    assert done.returncode == 1
    assert done.stdout == "Unit hello.service launched on 7aea1bb4.../10.199.0.11\n"
    assert done.stderr == (
        "Error starting unit mars.service: no machine has region=mars; "
        "it stays submitted and starts when a machine fits. See: fleetctl why mars.service\n"
    )


@pytest.mark.parametrize("verb", ["stop", "unload", "destroy"])
def test_what_runs_nowhere_is_stopped_well(fleetctl: Fleetctl, fleet: Fleet, verb: str) -> None:
    unit = fleet.add("mars.service", Target.LAUNCHED)
    fleet.wait(unit, Pending(unit.name, unit.hash, 1, "no machine has region=mars"))
    done = fleetctl(verb, "mars")
    assert (done.returncode, done.stderr) == (0, "")
    if verb == "stop":
        told = "Unit mars.service runs nowhere; it stays submitted and loads when a machine fits\n"
        assert done.stdout == told


def test_a_passing_wait_is_waited_out(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.add("hello.service", Target.LAUNCHED)
    fleet.wait(unit, Pending(unit.name, unit.hash, 1, "waits for an old copy to stop", passing=True))
    process = fleetctl.start("start", "hello.service")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    fleet.delete(fleet.keys.pending(unit.name))
    fleet.assign(unit, ONE)
    fleet.report(unit, ONE)
    assert finished(process)[0] == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"error": "cannot start: exec failed"}, "Error starting unit bad.service: cannot start: exec failed."),
        ({"result": "exit-code", "exit_code": 203}, "it failed on 7aea1bb4... (exit-code, exit status 203)."),
    ],
)
def test_a_launched_unit_that_failed_is_an_error_with_a_hint_each_time(
    fleetctl: Fleetctl, fleet: Fleet, more: dict[str, object], words: str
) -> None:
    unit = fleet.run("bad.service")
    fleet.report(unit, ONE, "failed", "failed", **more)
    for attempt in (1, 2):
        process = fleetctl.start("start", "bad.service")
        unit = carried_out(fleet, "bad.service", attempt)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)  # what the attempt before it came to is not told of this one
        fleet.report(unit, ONE, "failed", "failed", **more)
        code, out, err = finished(process)
        assert (code, out) == (1, "")
        assert words in err
        assert "See: fleetctl journal bad.service" in err


def carried_out(fleet: Fleet, name: str, attempt: int, *machines: str) -> Unit:
    """What the scheduler does for an attempt once it is asked for."""
    eventually(lambda: (unit := fleet.unit(name)) is not None and unit.attempt == attempt)
    unit = fleet.unit(name)
    assert unit
    for machine in machines or (ONE,):
        fleet.assign(unit, machine)
    return unit


def test_start_starts_again_what_was_stopped_behind_our_back(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.report(fleet.run("hello.service"), ONE, "inactive", "dead")
    process = fleetctl.start("start", "hello.service")
    unit = carried_out(fleet, "hello.service", 1)
    fleet.report(unit, ONE)
    assert finished(process) == (0, "Unit hello.service launched on 7aea1bb4.../10.199.0.11\n", "")


def test_a_global_unit_is_said_to_be_launched_on_no_machine_that_is_lost(fleetctl: Fleetctl, fleet: Fleet) -> None:
    unit = fleet.run("all.service")
    fleet.assign(unit, LOST)
    done = fleetctl("start", "all")
    assert done.stdout.splitlines() == [
        "Unit all.service launched on 7aea1bb4.../10.199.0.11",
        "Unit all.service is left as it is on deadbeef...: that machine is lost",
    ]


def test_a_global_unit_s_start_names_every_machine_that_failed_and_those_that_did_not(
    fleetctl: Fleetctl, fleet: Fleet
) -> None:
    unit = fleet.run("all.service")
    for machine in (TWO, THREE):
        fleet.assign(unit, machine)
        fleet.report(unit, machine, "failed", "failed", error="start failed: exit code 3")
    process = fleetctl.start("start", "all.service")
    unit = carried_out(fleet, "all.service", 1, ONE, TWO, THREE)
    fleet.report(unit, ONE)
    fleet.report(unit, TWO, "failed", "failed", error="start failed: exit code 3")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)  # the third is still at it
    fleet.report(unit, THREE, "failed", "failed", error="start failed: exit code 4")
    code, out, err = finished(process)
    assert (code, out) == (1, "Unit all.service launched on 7aea1bb4.../10.199.0.11\n")
    assert "on 1 of 3 machines (core-2): start failed: exit code 3" in err
    assert "on 1 of 3 machines (core-3): start failed: exit code 4" in err


def test_a_start_that_a_condition_held_everywhere_fails_and_is_told_where_it_held_on_some(
    fleetctl: Fleetctl, fleet: Fleet
) -> None:
    nope = "condition not met: ConditionPathExists=/nope"
    unit = fleet.run("all.service")
    fleet.assign(unit, TWO)
    fleet.report(unit, TWO, "inactive", "dead", skipped=nope)
    process = fleetctl.start("start", "all.service")
    unit = carried_out(fleet, "all.service", 1, ONE, TWO)
    fleet.report(unit, TWO, "inactive", "dead", skipped=nope)
    fleet.report(unit, ONE)
    code, out, err = finished(process)
    assert (code, err) == (0, "")
    assert f"Unit all.service not started on 8bfb2cc5.../10.199.0.12: {nope}" in out
    fleet.report(unit, ONE, "inactive", "dead", skipped=nope)
    process = fleetctl.start("start", "all.service")
    unit = carried_out(fleet, "all.service", 2, ONE, TWO)
    for machine in (ONE, TWO):
        fleet.report(unit, machine, "inactive", "dead", skipped=nope)
    code, out, err = finished(process)
    assert (code, out) == (1, "")
    assert f"on 2 of 2 machines (core-1, core-2): {nope}" in err


def test_what_waits_for_a_unit_says_which_and_that_it_goes_on_by_itself(fleetctl: Fleetctl, fleet: Fleet) -> None:
    waits = "waits for tick.service, which is not loaded on core-1"
    unit = fleet.run("tick.timer")
    fleet.report(unit, ONE, "inactive", "dead", error=waits, waits=("tick.service",))
    process = fleetctl.start("start", "tick.timer")
    unit = carried_out(fleet, "tick.timer", 1)
    fleet.report(unit, ONE, "inactive", "dead", error=waits, waits=("tick.service",))
    code, out, err = finished(process)
    assert (code, out) == (1, "")
    assert err == (
        f"Error starting unit tick.timer: {waits}; it stays submitted and starts when that unit is there. "
        "See: fleetctl why tick.timer\n"
    )


def test_a_changed_file_warns_and_is_stored_only_with_replace(fleetctl: Fleetctl, fleet: Fleet) -> None:
    old = fleet.run("hello.service")
    path = fleetctl.write("hello.service", CHANGED)
    done = fleetctl("start", str(path))
    assert done.returncode == 0
    assert f"WARNING: unit hello.service in the registry differs from {path}" in done.stderr
    assert "--replace" in done.stderr
    assert fleetctl("cat", "hello").stdout == HELLO
    assert fleetctl("start", "--replace", "--no-block", str(path)).returncode == 0
    unit = fleet.unit("hello.service")
    assert unit
    assert (unit.hash, unit.generation, unit.history) == (file_hash(CHANGED), 2, (old.hash,))
    assert unit.target is Target.LAUNCHED
    assert fleetctl("cat", "hello").stdout == CHANGED


@pytest.mark.parametrize("verb", ["submit", "load", "start"])
@pytest.mark.parametrize("left", [None, b"[Service]\n"])
def test_replace_restores_a_file_that_is_missing_or_corrupt_though_the_text_is_the_same(
    fleetctl: Fleetctl, fleet: Fleet, verb: str, left: bytes | None
) -> None:
    before = fleet.run("hello.service")
    path, key = fleetctl.write("hello.service", HELLO), fleet.keys.file(before.hash)
    fleet.delete(key)
    if left is not None:
        fleet.put(key, left)
    assert fleetctl(verb, "--no-block", str(path)).returncode == 0
    assert fleet.get(key) == left
    assert fleetctl(verb, "--replace", "--no-block", str(path)).returncode == 0
    assert fleet.get(key) == HELLO.encode()
    unit = fleet.unit("hello.service")
    assert unit
    assert (unit.hash, unit.generation, unit.target) == (before.hash, before.generation, before.target)
    assert "its file was lost" in fleetctl("events").stdout
    assert fleetctl(verb, "--replace", "--no-block", str(path)).returncode == 0
    assert fleetctl("events").stdout.count("its file was lost") == 1


def test_load_and_submit_do_not_lower_what_runs(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("hello.service")
    for verb in ("load", "submit"):
        assert fleetctl(verb, "hello").stdout == "Unit hello.service launched on 7aea1bb4.../10.199.0.11\n"
    assert target_of(fleet, "hello.service") is Target.LAUNCHED


def test_an_instance_shares_its_templates_text(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleetctl.write("web@.service", HELLO)
    assert fleetctl("start", "--no-block", "web@1", "web@2").returncode == 0  # the template is on disk
    assert fleetctl("submit", "web@.service").returncode == 0
    (fleetctl.home / "web@.service").unlink()
    assert fleetctl("start", "--no-block", "web@3").returncode == 0  # the template is in the registry
    hashes = {unit.hash for number in (1, 2, 3) if (unit := fleet.unit(f"web@{number}.service"))}
    assert hashes == {file_hash(HELLO)}


def test_an_instance_of_a_changed_template_is_told_apart_and_replaced_on_demand(
    fleetctl: Fleetctl, fleet: Fleet
) -> None:
    fleet.run("web@1.service")
    fleet.add("web@.service", text=CHANGED)
    done = fleetctl("start", "web@1")
    assert "web@1.service in the registry differs from template web@.service in the registry" in done.stderr
    fleetctl("start", "--no-block", "--replace", "web@1")
    unit = fleet.unit("web@1.service")
    assert unit
    assert unit.hash == file_hash(CHANGED)


def test_globs_are_over_the_registrys_names(fleetctl: Fleetctl, fleet: Fleet) -> None:
    for number in range(3):
        fleet.add(f"web@{number}.service")
    fleet.add("db.service")
    assert fleetctl("start", "--no-block", "web@[01]*").stdout.splitlines() == [
        "Triggered unit web@0.service start",
        "Triggered unit web@1.service start",
    ]
    assert fleetctl("destroy", "web@*").stdout.count("Destroyed") == 3
    assert fleet.unit("db.service")


def test_comments_and_order_survive_to_the_letter(fleetctl: Fleetctl) -> None:
    text = (
        "# héllo\n;old\n\n[Service]\nExecStart=/bin/echo \\\n# inside\n  x\nEnvironment=A=1\nEnvironment=A=2\n\n\n"
    )
    fleetctl.write("odd.service", text)
    fleetctl("submit", "odd.service")
    assert fleetctl("cat", "odd").stdout == text


def test_without_a_scheduler_it_says_so_and_the_timeout_ends_it(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.delete(fleet.keys.leader)
    fleet.add("hello.service")
    done = fleetctl("start", "--timeout=3s", "hello")
    assert done.returncode == 1
    first, second, third = done.stderr.splitlines()
    assert first.startswith("No scheduler leads")
    assert second == "Error starting units: 1 unit not there after 3s; they go on by themselves"
    assert third.startswith("  hello.service: no scheduler leads")


def test_fleets_block_attempts_are_half_seconds(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    begun = time.monotonic()
    done = fleetctl("start", "--block-attempts=2", "hello")
    assert done.returncode == 1
    assert "not there after 1s" in done.stderr
    assert 1 <= time.monotonic() - begun < 15


def test_an_interrupt_ends_the_waiting_only(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    process = fleetctl.start("start", "hello.service")
    eventually(lambda: target_of(fleet, "hello.service") is Target.LAUNCHED)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130
    assert "Interrupted; 1 unit keeps going" in err
    assert target_of(fleet, "hello.service") is Target.LAUNCHED


def test_a_unit_that_is_destroyed_meanwhile_ends_the_wait(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    process = fleetctl.start("start", "hello.service")
    eventually(lambda: target_of(fleet, "hello.service") is Target.LAUNCHED)
    fleetctl("destroy", "--no-block", "hello.service")
    code, out, err = finished(process)
    assert code == 1
    assert out == ""
    assert "hello.service: somebody destroyed it meanwhile" in err


@pytest.mark.usefixtures("fleet")
def test_three_hundred_units_are_three_transactions_with_an_event_each(fleetctl: Fleetctl) -> None:
    fleetctl.write("web@.service", HELLO)
    names = [f"web@{number}.service" for number in range(300)]
    begun = time.monotonic()
    done = fleetctl("start", "--no-block", *names)
    assert done.stdout.count("Triggered") == 300
    assert time.monotonic() - begun < 15
    events = fleetctl("events", "--no-legend").stdout.splitlines()
    assert len(events) == 3
    assert any("units: web@0.service, web@1.service" in event for event in events)
    assert fleetctl("events", "--no-legend", "--unit=web@299").stdout.count("\n") == 1


def test_a_terminal_is_told_how_many_units_are_written_and_a_pipe_is_not(fleetctl: Fleetctl) -> None:
    fleetctl.write("many@.service", HELLO)
    names = [f"many@{number}" for number in range(200)]
    terminal, other_end = os.openpty()
    process = subprocess.Popen(
        [PROGRAM, "start", "--no-block", *names], env=fleetctl.environment, cwd=fleetctl.home,
        stdout=subprocess.DEVNULL, stderr=other_end,
    )  # fmt: skip
    os.close(other_end)
    shown = b""
    with suppress(OSError):  # its end
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    assert process.wait() == 0
    assert re.findall(rb"(\d+) of 200 units written", shown)[0] == b"0"
    assert shown.endswith(b"\r\x1b[K")  # the line is taken away
    assert fleetctl("stop", "--no-block", *names).stderr == ""


@pytest.mark.parametrize("verb", ["start", "destroy"])
def test_a_verb_that_waits_loads_neither_asyncio_nor_aiohttp(fleetctl: Fleetctl, fleet: Fleet, verb: str) -> None:
    unit = fleet.run("hello.service")
    waiting = fleetctl.start(verb, "hello.service", PYTHONPROFILEIMPORTTIME="1")
    if verb == "destroy":
        eventually(lambda: fleet.unit("hello.service") is None)
        fleet.delete(fleet.keys.schedule(ONE, unit.name))
        fleet.delete(fleet.keys.state(ONE, unit.name))
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out.split()[-1]) == (0, "7aea1bb4.../10.199.0.11" if verb == "start" else unit.name)
    loaded = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert "registry.etcd.blocking" in loaded
    assert not loaded & {"asyncio", "aiohttp", "etcd3", "_ssl", "email.parser", "dataclasses", "logging"}


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_a_verb_that_begins_again_for_a_tunnel_says_nothing_twice(fleetctl: Fleetctl, verb: str) -> None:
    done = fleetctl("--tunnel", "127.0.0.1:1", verb, "no name!")
    assert (done.returncode, done.stderr.count("unit name 'no name!.service'")) == (1, 1)
    assert "127.0.0.1" in done.stderr.splitlines()[-1]


def test_events_tell_who_did_what(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    fleetctl("start", "--no-block", "hello")
    fleetctl("stop", "--no-block", "hello")
    fleetctl("cordon", "core-1")
    lines = fleetctl("events", "--no-legend").stdout.splitlines()
    assert [line.split()[3] for line in lines] == ["start", "stop", "cordon"]
    assert "7aea1bb4..." in lines[2]
    assert len(fleetctl("events", "--no-legend", "--unit", "hello", "-n1").stdout.splitlines()) == 1
    assert len(fleetctl("events", "--no-legend", "--machine", "7aea").stdout.splitlines()) == 1


def test_events_are_followed(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    process = fleetctl.start("events", "-f", "--json", "--lines=0")
    assert process.stdout
    while not select.select([process.stdout], [], [], 0.5)[0]:  # nobody says when it has begun to follow
        fleetctl("start", "--no-block", "hello")
        fleetctl("stop", "--no-block", "hello")
    told = json.loads(process.stdout.readline())
    assert told["verb"] in ("start", "stop")
    assert told["unit"] == "hello.service"


def test_what_stops_a_unit_of_the_host_is_warned_of_when_it_is_submitted_and_started(fleetctl: Fleetctl) -> None:
    path = fleetctl.write("greedy.service", "[Unit]\nConflicts=ssh.service\n[Service]\nExecStart=/bin/true\n")
    words = (
        "greedy.service:2: Conflicts=ssh.service stops that unit when this unit starts, also where it is the host's"
    )
    for verb in ("verify", "submit", "start"):
        done = fleetctl(verb, *(["--no-block"] if verb == "start" else []), str(path))
        told = done.stdout if verb == "verify" else done.stderr
        assert done.returncode == 0
        assert told.count("WARNING") == 1
        assert words in told
    path.unlink()
    assert words in fleetctl("load", "--no-block", "greedy.service").stderr
