from __future__ import annotations

import pytest

from agentd.pure.unit_status import UNKNOWN, UnitStatus, failure, skipped, start_error


def test_properties_are_merged_and_unknown_ones_passed_over() -> None:
    status = UNKNOWN.merged({"ActiveState": "active", "MainPID": 7, "Job": [12, "/job/12"], "Nonsense": 1})
    assert (status.active, status.main_pid, status.job) == ("active", 7, 12)
    assert status.merged({"Job": (0, "/")}).settled


@pytest.mark.parametrize("active", ["active", "activating", "deactivating", "reloading"])
def test_only_inactive_and_failed_are_at_rest(active: str) -> None:
    assert UnitStatus(active=active).running
    assert not UnitStatus(active="inactive").running
    assert not UnitStatus(active="failed").running


def test_an_exit_code_is_told_only_of_a_process_that_ended() -> None:
    assert UnitStatus(exec_code=0, exec_status=0).exit_code is None
    assert UnitStatus(exec_code=1, exec_status=0).exit_code == 0
    assert UnitStatus(exec_code=2, exec_status=9).exit_code == 9


@pytest.mark.parametrize(
    ("status", "program", "words"),
    [
        (UnitStatus(result="exit-code", exec_code=1, exec_status=3), "", "exit code 3"),
        (
            UnitStatus(result="exit-code", exec_code=1, exec_status=203),
            "/usr/bin/foo",
            "exit code 203/EXEC (/usr/bin/foo: missing or not executable)",
        ),
        (UnitStatus(result="exit-code", exec_code=1, exec_status=217), "/usr/bin/foo", "exit code 217/USER"),
        (UnitStatus(result="signal", exec_code=2, exec_status=9), "", "killed by signal 9"),
        (UnitStatus(result="core-dump", exec_code=3, exec_status=11), "", "killed by signal 11 (core dumped)"),
        (UnitStatus(result="oom-kill", exec_code=2, exec_status=9), "", "the kernel ended it for want of memory"),
        (UnitStatus(result="new-in-some-version"), "", "result new-in-some-version"),
    ],
)
def test_failures_in_words(status: UnitStatus, program: str, words: str) -> None:
    assert failure(status, program) == words


def test_a_start_that_is_done_is_judged_by_the_state() -> None:
    failed = UnitStatus(active="failed", result="exit-code", exec_code=1, exec_status=1, left_inactive_us=20)
    assert start_error("done", UnitStatus(active="active"), 10) == ""
    assert start_error("done", failed, 10) == "start failed: exit code 1"
    assert start_error("done", UnitStatus(active="inactive", condition=False, condition_us=20), 10) == ""


def test_a_start_whose_job_failed_says_how() -> None:
    late = UnitStatus(active="failed", result="timeout", left_inactive_us=20)
    assert start_error("failed", late, 10).startswith("start timed out")
    assert start_error("dependency", UnitStatus(active="inactive"), 10) == "start failed: a dependency failed"
    assert start_error("canceled", UnitStatus(active="inactive"), 10) == "start failed: its job was canceled"


def test_an_older_time_out_is_not_this_start_s() -> None:
    old = UnitStatus(active="active", result="timeout", left_inactive_us=5)
    assert start_error("done", old, 10) == ""


def test_skipped_by_a_condition() -> None:
    assert skipped(UnitStatus(active="inactive", condition=False, condition_us=20), 10)
    assert not skipped(UnitStatus(active="inactive", condition=False, condition_us=5), 10)
    assert not skipped(UnitStatus(active="active", condition=True, condition_us=20), 10)


def test_a_start_was_attempted_when_it_left_inactive_or_was_held_by_a_condition() -> None:
    assert UnitStatus(left_inactive_us=10).attempted_since(10)
    assert UnitStatus(condition_us=11).attempted_since(10)
    assert not UnitStatus(left_inactive_us=9).attempted_since(10)
    assert not UNKNOWN.attempted_since(0)
