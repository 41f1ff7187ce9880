"""Why a start came to nothing: in systemd's own facts, as one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentd.inquiry import Inquiry, Lack, missing, named_as_absent
from agentd.pure.diagnosis import FailedCommand, cause, failed_step, resources, unmet
from agentd.pure.unit_status import DUMPED, EXITED, KILLED
from agentd.systemd import Systemd
from agentd.systemd_connection import SystemdConnection


def command(
    path: str, began: int, ended: int, code: int = EXITED, status: int = 0, *, ignored: bool = False
) -> list[object]:
    return [path, [path], ignored, 0, began, 0, ended, 7, code, status]


def test_the_step_that_failed_first_is_the_one_that_is_told() -> None:
    commands = {
        "ExecStartPre": [command("/bin/a", 20, 21), command("/bin/b", 22, 23, status=1, ignored=True)],
        "ExecStart": [command("/bin/main", 30, 50, KILLED, 15)],  # by systemd, since what comes after it failed
        "ExecStartPost": [command("/bin/post", 31, 40, status=4)],
        "ExecStop": [command("/bin/stop", 41, 42, status=9)],
    }
    assert failed_step(commands, 10) == FailedCommand("ExecStartPost", "/bin/post", EXITED, 4)
    assert failed_step(commands, 60) is None, "an older start's"
    assert failed_step({"ExecStart": [command("/bin/a", 0, 0)]}, 10) is None, "never run"


@pytest.mark.parametrize(
    ("result", "step", "lost", "words"),
    [
        ("exit-code", FailedCommand("ExecStartPre", "/bin/a", EXITED, 217), "User=x does not exist",
         "exit code 217/USER (User=x does not exist) in ExecStartPre=/bin/a"),
        ("exit-code", FailedCommand("ExecStartPre", "/no/a", EXITED, 203), "",
         "exit code 203/EXEC (/no/a: missing or not executable) in ExecStartPre"),
        ("exit-code", FailedCommand("ExecStart", "/bin/a", EXITED, 3), "", "exit code 3 in ExecStart=/bin/a"),
        ("signal", FailedCommand("ExecStart", "/bin/a", KILLED, 9), "", "killed by signal 9 in ExecStart=/bin/a"),
        (
            "core-dump",
            FailedCommand("ExecStart", "", DUMPED, 11),
            "",
            "killed by signal 11 (core dumped) in ExecStart",
        ),
        ("resources", None, "EnvironmentFile=/no does not exist", "EnvironmentFile=/no does not exist"),
        ("resources", None, "", "what the state says"),
        ("oom-kill", FailedCommand("ExecStart", "/bin/a", KILLED, 9), "", "what the state says"),
        ("exit-code", None, "", "what the state says"),
    ],
)  # fmt: skip
def test_causes_in_words(result: str, step: FailedCommand | None, lost: str, words: str) -> None:
    assert cause(result, step, lost, "what the state says") == words


def test_a_time_out_names_its_step() -> None:
    step = FailedCommand("ExecStartPre", "/bin/a", KILLED, 15)
    assert cause("timeout", step, "", "timed out; raise it") == "timed out in ExecStartPre=/bin/a; raise it"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("ConditionPathExists", False, False, "/nope", -1)], "ConditionPathExists=/nope"),
        ([("ConditionPathExists", False, True, "/etc", -1)], "ConditionPathExists=!/etc"),
        ([("ConditionUser", False, False, "b", 0), ("ConditionHost", False, False, "a", -1)], "ConditionHost=a"),
        ([("ConditionUser", False, False, "b", -1), ("ConditionHost", True, False, "a", -1)], "ConditionUser=b"),
        (
            [("ConditionUser", True, True, "b", -1), ("ConditionHost", True, False, "a", -1)],
            "none of ConditionHost=|a, ConditionUser=|!b holds",
        ),
        ([("ConditionUser", True, False, "b", -1)], "ConditionUser=|b"),
        ([("ConditionUser", True, False, "b", 1), ("ConditionHost", True, False, "a", -1)], ""),
        ([("ConditionUser", False, False, "b", 0)], ""),
        ([], ""),
    ],
)
def test_conditions_are_told_as_they_are_written(rows: list[tuple[str, bool, bool, str, int]], words: str) -> None:
    assert unmet(rows) == words


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    there, gone = str(tmp_path), str(tmp_path / "gone")
    assert missing({"WorkingDirectory": there, "RootDirectory": "", "User": "root", "Group": "0"}) == ""
    assert missing({"WorkingDirectory": gone}) == f"WorkingDirectory={gone} does not exist"
    assert missing({"WorkingDirectory": f"!{gone}"}) == ""
    assert missing({"RootDirectory": __file__}) == f"RootDirectory={__file__} is not a directory"
    assert missing({"User": "nobody-at-all"}) == "User=nobody-at-all does not exist"
    assert missing({"SupplementaryGroups": ["root", "no-such"]}) == "SupplementaryGroups=no-such does not exist"
    assert missing({"LoadCredential": [("x", gone), ("y", "stored")]}) == f"LoadCredential=x:{gone} does not exist"
    assert missing({"ReadWritePaths": [f"-{gone}", gone]}) == f"ReadWritePaths={gone} does not exist"
    assert (
        missing({"BindPaths": [(gone, "/x", True, 0), (gone, "/x", False, 0)]})
        == f"BindPaths={gone} does not exist"
    )
    assert missing({"WorkingDirectory": f"/{'x' * 5000}"}).endswith("does not exist")


def test_an_environment_file_may_be_a_pattern_or_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("A=1\n")
    told = {name: missing({"EnvironmentFiles": [(f"{tmp_path}/{name}", ignored)]}) for name, ignored in (
        ("a.env", False), ("*.env", False), ("b.env", True), ("b.env*", False), (".", False),
    )}  # fmt: skip
    assert told == {
        "a.env": "", "*.env": "", "b.env": "", "b.env*": f"EnvironmentFile={tmp_path}/b.env* does not exist",
        ".": f"EnvironmentFile={tmp_path}/. is not a file",
    }  # fmt: skip


def test_only_what_can_have_been_missing_is_asked_for() -> None:
    assert resources("exit-code", FailedCommand("ExecStart", "", EXITED, 217)) == ("User",)
    assert resources("exit-code", FailedCommand("ExecStart", "", EXITED, 1)) == ()
    assert resources("signal", FailedCommand("ExecStart", "", KILLED, 9)) == ()
    assert resources("resources", None) == ("EnvironmentFiles",)


@pytest.mark.parametrize(
    ("reason", "names"),
    [
        ("Unit b.service not found.", ("b.service",)),
        ("Unit b.service is masked.", ("b.service",)),
        ("Unit ../../x.service not found.", ()),
        ("Unit  not found.", ()),
        ("Access denied", ()),
    ],
)
def test_systemds_refusal_names_the_unit(reason: str, names: tuple[str, ...]) -> None:
    assert named_as_absent(reason) == names


def test_what_a_unit_waits_for_is_one_line() -> None:
    inquiry = Inquiry(Systemd(SystemdConnection("")), "core-1")  # asks nothing here
    one = inquiry.waiting([Lack("tick.service", "not loaded")])
    assert one == "waits for tick.service, which is not loaded on core-1"
    many = inquiry.waiting([Lack(f"{n}.service", "masked", "b.service") for n in range(5)])
    assert many.count("(needed by b.service)") == 3
    assert many.endswith("; and 2 more")
