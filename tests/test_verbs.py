"""The table of verbs is the one place that says what a verb on units does."""

from __future__ import annotations

import pytest

from fleettui.actions.units import ACTS
from fleettui.cli.commands import BY_NAME
from fleettui.console.text.keys import BY_ID
from fleettui.verbs import INTRODUCING, ON_UNITS, Verb, gerund, verb_between, verb_towards
from registry.model import Target


def test_every_verb_is_carried_out_offered_and_has_a_key() -> None:
    assert {*ACTS} == {verb for verb in Verb if verb.rules.applies_from} >= {*ON_UNITS}
    assert {*INTRODUCING, *ON_UNITS} | {Verb.UNDO, Verb.REDO} == {*Verb}
    for verb in Verb:
        assert verb in BY_ID
        assert verb in (Verb.UNDO, Verb.REDO) or BY_NAME[verb].takes("UNIT")
        assert verb in (Verb.UNDO, Verb.REDO) or BY_NAME[verb].takes("FILE") == verb.rules.takes_files


@pytest.mark.parametrize("target", [*Target])
def test_a_change_of_target_has_the_verb_that_makes_it(target: Target) -> None:
    for old in Target:
        if old is not target:
            verb = verb_between(old, target)
            assert verb.rules.target is target
            assert old in verb.rules.applies_from
    assert verb_between(target, None).rules.forgets


def test_what_a_machine_does_is_named_by_where_it_leads() -> None:
    assert [verb_towards(target, up=True) for target in (Target.LAUNCHED, Target.LOADED, None)] == [
        "restart", "stop", "stop"
    ]  # fmt: skip
    assert [verb_towards(target, up=False) for target in (Target.LAUNCHED, Target.LOADED, None)] == [
        "start", "load", "unload"
    ]  # fmt: skip


def test_gerunds() -> None:
    assert [gerund(verb) for verb in ("start", "stop", "submit", "destroy", "restart", "unload")] == [
        "starting", "stopping", "submitting", "destroying", "restarting", "unloading"
    ]  # fmt: skip
