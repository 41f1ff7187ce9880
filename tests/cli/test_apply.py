"""What an apply does to units: the folder read, and compared with a registry, without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.actions.apply import compare
from fleettui.actions.folder import UnitFolder, read_folder
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.model import Rollout, RolloutState, RolloutStep, Target, Unit
from registry.units.file import file_hash

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
