"""What an apply does to units: the folder read, and compared with a registry, without one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.actions.apply import ChangeKind, UnitDifference, compare
from fleettui.actions.apply_configs import ConfigDifference, compare_configs, held_back
from fleettui.actions.folder import UnitFolder, read_folder
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.model import Config, ConfigVersion, Rollout, RolloutState, RolloutStep, Target, Unit
from registry.units.content import ConfigContent, config_text, content_hash, read_config
from registry.units.file import file_hash
from registry.units.pins import NeedKind

TEXT = "[Service]\nExecStart=/bin/sleep infinity\n"
OTHER = f"# another\n{TEXT}"


def folder(path: Path, files: dict[str, str], settings: str = "") -> UnitFolder:
    for name, text in files.items():
        (path / name).write_text(text)
    (path / "fleet-apply.toml").write_text(f'owner = "team"\n{settings}')
    return read_folder(path)


def applied(name: str, text: str = TEXT, target: Target = Target.LAUNCHED, owner: str = "team") -> Unit:
    sha = file_hash(text)
    return Unit(name, sha, target, owner=owner, applied=f"{sha}:{target}", by="root@laptop")


def told(asked: UnitFolder, *units: Unit, prune: bool = False, adopt: bool = False, rollout: str = "") -> list[str]:
    """The changes, in words."""
    steps = (RolloutStep(rollout, "0" * 64, "1" * 64, 1),)
    rollouts = {"r": Rollout("r", steps, RolloutState.PAUSED)} if rollout else {}
    snapshot = Snapshot(units={each.name: each for each in units}, rollouts=rollouts)
    return [f"{each.kind} {each.name}" for each in compare(asked, snapshot, prune=prune, adopt=adopt)]


def test_a_folder_asks_for_its_files_and_the_instances_of_templates(tmp_path: Path) -> None:
    asked = folder(
        tmp_path,
        {"db.service": TEXT, "web@.service": TEXT, "web@blue.service": OTHER, "notes.txt": "x"},
        '[units."web@.service"]\ninstances = 2\n[units."db.service"]\ntarget = "loaded"\n',
    )
    assert asked.owner == "team"
    assert {name: each.target for name, each in asked.units.items()} == {
        "db.service": Target.LOADED,
        "web@.service": Target.INACTIVE,
        "web@1.service": Target.LAUNCHED,
        "web@2.service": Target.LAUNCHED,
        "web@blue.service": Target.LAUNCHED,
    }
    assert asked.units["web@blue.service"].text == OTHER


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ('[units."x.service"]\n', "no file x.service"),
        ('[units."db.service"]\ninstances = 2\n', "no template"),
        ('[units."db.service"]\ntarget = "up"\n', "target is not one of"),
        ('[units."db.service"]\ntargets = "loaded"\n', "unknown key 'targets'"),
        ('[units."web@.service"]\ninstances = -1\n', "instances is neither"),
        ('[units."web@.service"]\ninstances = ["a b"]\n', "a b"),
        ("units = 3\n", "units is not a table"),
        ("colour = 3\n", "unknown key 'colour'"),
        ("owner\n", "not valid TOML"),
    ],
)
def test_what_is_wrong_with_the_settings_is_said_with_the_file(tmp_path: Path, settings: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        folder(tmp_path, {"db.service": TEXT, "web@.service": TEXT}, settings)


def test_a_file_that_would_not_load_is_refused_by_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bad\.service:1: "):
        folder(tmp_path, {"bad.service": "ExecStart=/bin/true\n"})


def test_what_is_missing_is_created_and_what_is_equal_is_left(tmp_path: Path) -> None:
    asked = folder(tmp_path, {"a.service": TEXT, "b.service": TEXT})
    assert told(asked, applied("a.service")) == ["create b.service"]
    assert told(asked, applied("a.service"), applied("b.service")) == []


def test_what_was_applied_and_not_touched_since_follows_the_folder(tmp_path: Path) -> None:
    asked = folder(tmp_path, {"a.service": OTHER, "b.service": TEXT})
    assert told(asked, applied("a.service"), applied("b.service", target=Target.LOADED)) == [
        "replace a.service",
        "target b.service",
    ]


def test_what_somebody_changed_by_hand_is_kept_unless_it_is_adopted(tmp_path: Path) -> None:
    asked = folder(tmp_path, {"a.service": OTHER, "b.service": TEXT})
    edited = replace(applied("a.service"), hash="f" * 64)
    stopped = replace(applied("b.service"), target=Target.LOADED)
    assert told(asked, edited, stopped) == ["keep a.service", "keep b.service"]
    assert told(asked, edited, stopped, adopt=True) == ["replace a.service", "target b.service"]


def test_units_of_others_and_of_nobody_are_kept_unless_they_are_adopted(tmp_path: Path) -> None:
    asked = folder(tmp_path, {"a.service": TEXT, "b.service": OTHER})
    others = (applied("a.service", owner=""), applied("b.service", owner="others"))
    assert told(asked, *others) == ["keep a.service", "keep b.service"]
    assert told(asked, *others, adopt=True) == ["adopt a.service", "replace b.service"]


def test_only_units_of_the_owner_are_pruned_and_only_when_that_is_asked(tmp_path: Path) -> None:
    asked = folder(tmp_path, {"a.service": TEXT})
    rest = (applied("a.service"), applied("b.service"), applied("c.service", owner="others"))
    assert told(asked, *rest) == ["keep b.service"]
    assert told(asked, *rest, prune=True) == ["destroy b.service"]
    edited = replace(applied("b.service"), hash="f" * 64)
    assert told(asked, applied("a.service"), edited, prune=True) == ["keep b.service"]
    assert told(asked, applied("a.service"), edited, prune=True, adopt=True) == ["destroy b.service"]


def test_what_a_rollout_has_is_left_to_it(tmp_path: Path) -> None:
    asked = folder(tmp_path, {"a.service": OTHER})
    assert told(asked, applied("a.service"), rollout="a.service") == ["keep a.service"]
    rolling = replace(applied("a.service", text=OTHER), hash=file_hash(TEXT))
    assert told(asked, rolling, rollout="a.service") == []


def test_a_file_that_some_machines_have_not_is_a_difference(tmp_path: Path) -> None:
    asked = folder(tmp_path, {"a.service": TEXT})
    half = applied("a.service").with_versions({"m1": (file_hash(OTHER), 2)})  # a rollout was aborted
    assert told(asked, applied("a.service")) == []
    assert told(asked, half, adopt=True) == ["replace a.service"]


def test_a_folder_asks_for_configs_by_files_and_variables(tmp_path: Path) -> None:
    (tmp_path / "config" / "web" / "sub").mkdir(parents=True)
    (tmp_path / "config" / "web" / "sub" / "motd").write_bytes(b"hello\xff")
    asked = folder(tmp_path, {"db.service": TEXT}, '[config.web]\nPORT = "80"\n[config.other]\nA = "1"\n')
    assert {name: each.summary for name, each in asked.configs.items()} == {
        "other": "1 variable",
        "web": "1 file, 1 variable",
    }
    assert read_config(asked.configs["web"].text, "web").files == {"sub/motd": b"hello\xff"}


@pytest.mark.parametrize(
    ("place", "settings", "reason"),
    [
        ("config/motd", "", "motd: it is no folder; put it into one"),
        ("config/a b/file", "", "is no name; use letters"),
        ("secret/db", "", "secrets are not applied; use: fleetctl secret set NAME < FILE"),
        ("notes", "[config.web]\nPORT = 80\n", 'the value of PORT is no text; write PORT = "80"'),
        ("notes", '[config.web]\n"A B" = "1"\n', "is no name of a variable"),
        ("notes", "config = 3\n", "config is not a table of tables"),
    ],
)
def test_what_cannot_be_a_config_is_said_with_its_place(
    tmp_path: Path, place: str, settings: str, reason: str
) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("x")
    with pytest.raises(UserError, match=re.escape(reason)) as told:
        folder(tmp_path, {}, settings)
    assert str(tmp_path) in str(told.value)


def config(name: str, *contents: str, owner: str = "team", applied: str = "") -> Config:
    """A config with versions of these variables, newest last."""
    hashes = [content_hash(config_text(name, ConfigContent({}, {"A": each}))) for each in contents]
    versions = [ConfigVersion(sha, number, "ann@laptop") for number, sha in enumerate(hashes, 1)]
    return Config(name, tuple(reversed(versions)), owner, applied or hashes[-1])


def configs_told(asked: UnitFolder, *configs: Config, prune: bool = False, adopt: bool = False) -> list[str]:
    found = compare_configs(asked, {each.name: each for each in configs}, prune=prune, adopt=adopt)
    return [f"{each.kind} {each.name}" for each in found]


def test_configs_are_created_replaced_and_kept_as_units_are(tmp_path: Path) -> None:
    asked = folder(tmp_path, {}, '[config.web]\nA = "2"\n')
    assert configs_told(asked) == ["create web"]
    assert configs_told(asked, config("web", "2")) == []
    assert configs_told(asked, config("web", "1")) == ["replace web"]
    by_hand = config("web", "1", "3", applied=config("web", "1").applied)
    assert configs_told(asked, by_hand) == ["keep web"]
    assert configs_told(asked, by_hand, adopt=True) == ["replace web"]
    for owner in ("", "others"):
        assert configs_told(asked, config("web", "2", owner=owner)) == ["keep web"]
        assert configs_told(asked, config("web", "2", owner=owner), adopt=True) == ["adopt web"]
    rest = (config("web", "2"), config("a", "1"), config("b", "1", owner="others"))
    assert configs_told(asked, *rest) == ["keep a"]
    assert configs_told(asked, *rest, prune=True) == ["destroy a"]
    changed = replace(config("a", "1"), applied="f" * 64)
    assert configs_told(asked, config("web", "2"), changed, prune=True) == ["keep a"]


def test_a_config_that_a_unit_goes_on_with_is_not_pruned() -> None:
    gone = ConfigDifference("web", ChangeKind.DESTROY)
    used = {(NeedKind.CONFIG, "web"): {"1" * 64: ["a.service", "b.service"]}}
    leaving = [UnitDifference("a.service", ChangeKind.DESTROY), UnitDifference("b.service", ChangeKind.KEEP)]
    (kept,) = held_back([gone], leaving, used)
    assert (kept.kind, kept.note) == (ChangeKind.KEEP, "b.service asks for it")
    leaving[1] = UnitDifference("b.service", ChangeKind.REPLACE)
    assert held_back([gone], leaving, used) == [gone]
