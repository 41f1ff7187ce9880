"""How a template is scaled, and which version of a unit is meant: the rules, without a registry."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fleettui.actions.reading import FoundUnit
from fleettui.actions.scale import plan_scale
from fleettui.actions.versions import Version, choose, unified, versions
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.model import Event, Target, Unit


def found(*names: str, target: Target = Target.LAUNCHED) -> dict[str, FoundUnit]:
    return {name: FoundUnit(Unit(name, "0" * 64, target), 7) for name in names}


def test_scaling_up_creates_what_is_missing_and_starts_what_does_not_run() -> None:
    known = found("web@.service", "web@2.service") | found("web@1.service", target=Target.LOADED)
    steps = plan_scale("web@.service", 3, known, known)
    assert steps.start == ("web@1.service", "web@3.service")
    assert steps.create == ("web@3.service",)
    assert steps.destroy == ()


def test_scaling_down_destroys_the_highest_numbers_and_nothing_else() -> None:
    known = found(*(f"web@{each}.service" for each in ("1", "2", "10", "9", "blue", "007")), "db@5.service")
    assert plan_scale("web@.service", 1, known, known).destroy == (
        "web@2.service",
        "web@9.service",
        "web@10.service",
    )
    assert len(plan_scale("web@.service", 0, known, known).destroy) == 4


def test_scaling_twice_changes_nothing() -> None:
    known = found("web@1.service", "web@2.service")
    steps = plan_scale("web@.service", 2, known, known)
    assert (steps.start, steps.create, steps.destroy) == ((), (), ())
    with pytest.raises(UserError, match="more than"):
        plan_scale("web@.service", 10**9, known, known)


VERSIONS = (Version("abcd" + "0" * 60, "a\nb\n"), Version("abce" + "0" * 60, "a\n"), Version("1" * 64, None))


def test_the_version_meant_is_the_one_before_or_the_one_named() -> None:
    assert choose(VERSIONS, None, "web@1.service") is VERSIONS[1]
    assert choose(VERSIONS, "ABCD", "web@1.service") is VERSIONS[0]


@pytest.mark.parametrize("asked", ["abc", "", "ffff", "abcdf"])
def test_a_version_that_is_none_or_several_is_refused_with_those_there_are(asked: str) -> None:
    with pytest.raises(UserError, match=r"abcd000, abce000, 1111111"):
        choose(VERSIONS, asked, "web@1.service")


def test_a_unit_without_a_past_and_a_text_that_is_gone_are_told() -> None:
    with pytest.raises(UserError, match="no other file"):
        choose(VERSIONS[:1], None, "web@1.service")
    with pytest.raises(UserError, match="not in the registry any more"):
        choose(VERSIONS, "1111", "web@1.service")


def test_a_difference_is_a_unified_diff_that_patch_takes(tmp_path: Path) -> None:
    numbers = [f"{line}\n" for line in range(33)]
    old, new = "".join(numbers[:30]), "".join(numbers[1:20] + numbers[21:])
    (tmp_path / "file").write_text(old)
    lines = unified(old, new, "file", "file")
    subprocess.run(["patch", "-p0"], input="\n".join(lines) + "\n", text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "file").read_text() == new
    assert unified("a\n", "a\n", "old", "new") == []


def test_a_version_that_came_back_is_of_who_brought_it_back() -> None:
    shas = [letter * 64 for letter in "abc"]

    def event(at: float, verb: str, actor: str, reason: str = "") -> Event:
        return Event(f"{int(at):013d}-x", at, actor, verb, "web.service", "", reason)

    acts = [
        event(1, "submit", "ann"),
        event(2, "replace", "bob", "was aaaaaaa"),
        event(3, "replace", "eve", "was bbbbbbb; rollout r1"),
        event(4, "restart", "joe"),
        event(5, "replace", "kim", "was aaaaaaa"),
        event(6, "replace", "kim", "was aaaaaaa"),  # on another machine
    ]
    unit = Unit("web.service", shas[2], Target.LAUNCHED, history=(shas[0], shas[1]))
    snapshot = Snapshot(9, units={unit.name: unit}, events={each.id: each for each in acts})
    assert [(each.hash[0], each.by, each.at) for each in versions(snapshot, unit.name)] == [
        ("c", "kim", 6),
        ("a", "eve", 3),
        ("b", "bob", 2),
    ]
