"""`fleetctl config` against a real etcd: versions, what keeps them, and which of them a unit's file has."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace

from registry.keys import Address, Table
from registry.model import Config, Target
from registry.records import decode
from registry.units.pins import pins_of, split
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import ONE, Fleet

TEXT = "[X-Fleet]\nConfig=web\n[Service]\nExecStart=/bin/true\n"


def stored(fleet: Fleet, name: str) -> str:
    """The text that the registry has of a unit."""
    unit = fleet.unit(name)
    assert unit is not None
    return (fleet.get(fleet.keys.file(unit.hash)) or b"").decode()


def newest(fleet: Fleet) -> str:
    """The hash of the newest version of the config web."""
    address = Address(Table.CONFIG, "web")
    record = decode(address, fleet.get(fleet.keys.at(address)) or b"")
    assert isinstance(record, Config)
    return record.versions[0].hash


def test_a_config_is_set_shown_changed_rolled_back_and_destroyed(fleet: Fleet, fleetctl: Fleetctl) -> None:
    fleetctl.write("web.toml", "a = 1\n")
    said = fleetctl("config", "set", "web", "PORT=80", "EMPTY=", "--file", "web.toml", "--file", "motd=web.toml")
    assert said.stdout == "Config web is version 1 (2 files, 2 variables)\n", said.stderr
    assert fleetctl("config", "set", "web", "PORT=80").stdout == "Config web is so already\n"
    assert fleetctl("config", "set", "web", "PORT=81").stdout == "Config web is version 2 (2 files, 2 variables)\n"
    assert fleetctl("config", "unset", "web", "motd", "EMPTY").returncode == 0
    shown = fleetctl("config", "show", "web")
    assert shown.stdout == "PORT=81\n"
    assert "file web.toml, 6 bytes" in shown.stderr
    assert fleetctl("config", "show", "web", "web.toml").stdout == "a = 1\n"
    assert json.loads(fleetctl("config", "show", "web", "--at", "1", "--json").stdout)["variables"]["PORT"] == "80"
    assert "version 4 now" in fleetctl("config", "rollback", "web", "--at", "1").stdout
    assert json.loads(fleetctl("config", "show", "web", "--json").stdout)["files"] == {"motd": 6, "web.toml": 6}
    history = json.loads(fleetctl("config", "history", "web", "--json").stdout)
    assert [each["version"] for each in history] == ["4", "3", "2"]
    listed = json.loads(fleetctl("config", "list", "--json").stdout)
    assert [(each["name"], each["version"], each["units"]) for each in listed] == [("web", "4", "0")]
    assert fleetctl("config", "destroy", "web").stdout == "Config web destroyed\n"
    assert fleet.get(fleet.keys.at(Address(Table.CONFIG, "web"))) is None


def test_a_file_may_come_through_a_pipe(fleet: Fleet, fleetctl: Fleetctl) -> None:
    pipe = fleetctl.home / "63"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("listen = 80\n",))
    writer.start()
    assert fleetctl("config", "set", "web", "--file", f"web.conf={pipe}").returncode == 0
    writer.join()
    assert fleetctl("config", "show", "web", "web.conf").stdout == "listen = 80\n"
    assert fleet.get(fleet.keys.at(Address(Table.CONFIG, "web"))) is not None


def test_what_is_wrong_is_said_with_a_remedy_and_nothing_is_written(fleet: Fleet, fleetctl: Fleetctl) -> None:
    (fleetctl.home / "big").write_bytes(b"x" * ((1 << 20) + 1))
    os.mkfifo(fleetctl.home / "pipe")
    for words, reason in (
        (("set", "../web", "A=1"), "is no name"),
        (("set", "web", "1A=1"), "is no name of a variable"),
        (("set", "web", "A"), "is not KEY=VALUE"),
        (("set", "web"), "takes KEY=VALUE or --file"),
        (("set", "web", "--file", "big"), "keep large files out of it"),
        (("set", "web", "--file", "nowhere"), "cannot read nowhere"),
        (("set", "web", "--file", "../x=big"), "keep large files out of it"),
        (("set", "web", "--file", "/dev/zero"), "is not a regular file"),
        (("set", "web", "--file", "pipe"), "is a pipe, which has no name; write --file NAME=pipe"),
        (("show", "web"), "there is no config web"),
        (("sett", "web"), "unknown act"),
        ((), "no act is given"),
    ):
        said = fleetctl("config", *words)
        assert said.returncode != 0
        assert reason in said.stderr, (words, said.stderr)
        assert "Traceback" not in said.stderr
    assert fleet.get(fleet.keys.at(Address(Table.CONFIG, "web"))) is None


def test_a_unit_has_the_versions_of_its_submit_until_it_is_rolled_out(fleet: Fleet, fleetctl: Fleetctl) -> None:
    path = str(fleetctl.write("web.service", TEXT))
    said = fleetctl("submit", path)
    assert "there is no config web in the registry; set it first: fleetctl config set web" in said.stderr
    assert said.returncode == 1
    assert fleet.unit("web.service") is None
    fleetctl("config", "set", "web", "A=1")
    assert fleetctl("submit", path).returncode == 0
    first = stored(fleet, "web.service")
    assert split(first)[0] == TEXT
    assert pins_of(first)[0].version == newest(fleet)
    told = fleetctl("config", "set", "web", "A=2").stdout
    assert "1 unit has an older version; to roll it out: fleetctl rollout 'web.service'" in told
    assert fleetctl("submit", path).stderr == ""  # it is the same file
    assert stored(fleet, "web.service") == first
    assert "is used by web.service" in fleetctl("config", "destroy", "web").stderr
    fleetctl("config", "set", "web", *(f"B{each}=" for each in range(2)))
    for number in range(12):
        fleetctl("config", "set", "web", f"A={number}")
    versions = json.loads(fleetctl("config", "history", "web", "--json").stdout)
    assert len(versions) == 11  # ten, and the one that the unit has
    assert versions[-1]["units"] == "web.service"
    assert fleetctl("rollout", "web.service", "--no-block", "--name", "r1").returncode == 0
    assert stored(fleet, "web.service") == first  # the leader gives it its turn
    record = json.loads(fleet.get(fleet.keys.rollout("r1")) or b"")
    step = record["steps"][0]
    text = (fleet.get(fleet.keys.file(step["new"])) or b"").decode()
    assert pins_of(text)[0].version == newest(fleet)
    assert split(text)[0] == TEXT
    assert older(fleetctl) == "1"  # until its turn
    unit = fleet.unit("web.service")
    assert unit is not None
    fleet.put(fleet.keys.unit("web.service"), replace(unit, hash=step["new"], generation=2))
    assert older(fleetctl) == "0"  # though its rollout is not over
    assert "is used by web.service" in fleetctl("config", "destroy", "web").stderr


def older(fleetctl: Fleetctl) -> str:
    """How many units have an older version of the only config."""
    (row,) = json.loads(fleetctl("config", "list", "--json").stdout)
    assert row["units"] == "1"
    return str(row["older"])


def test_apply_leaves_versions_alone_until_the_file_is_another(fleet: Fleet, fleetctl: Fleetctl) -> None:
    folder = fleetctl.home / "units"
    folder.mkdir()
    (folder / "web.service").write_text(TEXT)
    (folder / "fleet-apply.toml").write_text('[units."web.service"]\ntarget = "inactive"\n')
    fleetctl("config", "set", "web", "A=1")
    assert fleetctl("apply", "units", "--no-block").returncode == 0
    first = stored(fleet, "web.service")
    fleetctl("config", "set", "web", "A=2")
    assert fleetctl("apply", "units", "--dry-run").returncode == 0
    (folder / "web.service").write_text(f"# more\n{TEXT}")
    assert fleetctl("apply", "units", "--dry-run").returncode == 2
    assert fleetctl("apply", "units", "--no-block").returncode == 0
    second = stored(fleet, "web.service")
    assert pins_of(second)[0].version == newest(fleet) != pins_of(first)[0].version


def test_a_restart_keeps_the_version(fleet: Fleet, fleetctl: Fleetctl) -> None:
    fleetctl("config", "set", "web", "A=1")
    fleetctl("submit", str(fleetctl.write("web.service", TEXT)))
    unit = fleet.unit("web.service")
    assert unit is not None
    text = stored(fleet, "web.service")
    fleet.assign(fleet.add("web.service", Target.LAUNCHED, text), ONE)
    fleetctl("config", "set", "web", "A=2")
    assert fleetctl("restart", "--no-block", "web.service").returncode == 0
    assert stored(fleet, "web.service") == text


def test_apply_writes_configs_of_a_folder_before_the_units_that_have_them(fleet: Fleet, fleetctl: Fleetctl) -> None:
    folder = fleetctl.home / "shop"
    (folder / "config" / "web").mkdir(parents=True)
    (folder / "config" / "web" / "motd").write_text("hello\n")
    (folder / "web.service").write_text(TEXT)
    settings = '[units."web.service"]\ntarget = "inactive"\n[config.web]\nA = "{}"\n'
    (folder / "fleet-apply.toml").write_text(settings.format(1))
    shown = fleetctl("apply", "shop", "--dry-run")
    assert shown.returncode == 2
    assert [line.split("  ")[1].strip() for line in shown.stdout.splitlines()] == ["config web", "web.service"]
    assert fleetctl("config", "list").stdout.count("\n") <= 1, "a dry run wrote something"
    assert fleetctl("apply", "shop", "--no-block").returncode == 0
    assert fleetctl("config", "show", "web", "motd").stdout == "hello\n"
    assert pins_of(stored(fleet, "web.service"))[0].version == newest(fleet)
    quiet = fleetctl("apply", "shop")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")

    # A config that changes leaves units alone, and says so; with --at-a-time they are to get it.
    (folder / "fleet-apply.toml").write_text(settings.format(2))
    first = stored(fleet, "web.service")
    changed = fleetctl("apply", "shop")
    assert changed.returncode == 0
    assert "~ replace  config web  (1 file, 1 variable; was version 1)" in changed.stdout
    assert "1 unit has an older version" in changed.stdout
    assert stored(fleet, "web.service") == first
    assert fleetctl("apply", "shop", "--dry-run").returncode == 0
    assert fleetctl("apply", "shop", "--at-a-time", "1", "--dry-run").stdout.startswith("~ replace  web.service")
    assert fleetctl("apply", "shop", "--at-a-time", "1", "--no-block").returncode == 0
    assert pins_of(stored(fleet, "web.service"))[0].version == newest(fleet)
    assert fleetctl("apply", "shop", "--at-a-time", "1", "--dry-run").returncode == 0

    # What somebody sets by hand is kept, and the units that are written beside it have it.
    fleetctl("config", "set", "web", "A=hand")
    (folder / "web.service").write_text(f"# more\n{TEXT}")
    kept = fleetctl("apply", "shop", "--no-block")
    assert kept.returncode == 1
    assert "! keep     config web  (version 3 was set by " in kept.stderr
    assert pins_of(stored(fleet, "web.service"))[0].version == newest(fleet)
    assert fleetctl("apply", "shop", "--adopt", "--no-block").returncode == 0
    assert fleetctl("config", "show", "web").stdout == "A=2\n"

    # What the folder lacks is destroyed with --prune alone, and not before its units.
    (folder / "fleet-apply.toml").unlink()
    (folder / "config" / "web" / "motd").unlink()
    (folder / "config" / "web").rmdir()
    assert fleetctl("apply", "shop", "--prune", "--dry-run").returncode == 2  # web.service is to be launched
    used = fleetctl("apply", "shop", "--prune", "--dry-run").stderr
    assert "! keep     config web  (web.service asks for it)" in used
    (folder / "web.service").unlink()
    assert fleetctl("apply", "shop", "--prune", "--yes", "--no-block").returncode == 0
    assert fleet.unit("web.service") is None
    assert fleet.get(fleet.keys.at(Address(Table.CONFIG, "web"))) is None


def test_apply_tells_what_a_unit_lacks_in_the_difference_and_writes_nothing(
    fleet: Fleet, fleetctl: Fleetctl
) -> None:
    folder = fleetctl.home / "shop"
    folder.mkdir()
    (folder / "a.service").write_text(TEXT.replace("Config=web", "Secret=db"))
    (folder / "b.service").write_text(TEXT)
    (folder / "fleet-apply.toml").write_text('[config.web]\nA = "1"\n')
    for more in (["--dry-run"], ["--no-block"]):
        told = fleetctl("apply", "shop", *more)
        assert told.returncode == 1
        reason = "there is no secret db in the registry; set it first: fleetctl secret set db < FILE"
        assert f"! lacks    a.service  ({reason})" in told.stderr
        assert "+ create   b.service" in told.stdout
    assert fleet.unit("b.service") is None
    assert fleet.get(fleet.keys.at(Address(Table.CONFIG, "web"))) is None
