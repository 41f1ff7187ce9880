from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.units.file import MAX_FAULTS, parse
from registry.units.hostreach import InstallLink, links, warnings

SERVICE = "[Service]\nExecStart=/bin/true\n"


def told(text: str, name: str = "a.service") -> list[str]:
    return [str(each) for each in warnings(name, text, "f")]


@pytest.mark.parametrize(
    ("section", "line", "words"),
    [
        ("Unit", "Conflicts=ssh.service", "Conflicts=ssh.service stops that unit when this unit starts"),
        ("Unit", "Conflicts=a.service ssh.service", "Conflicts=ssh.service stops"),
        ("Unit", "PropagatesStopTo=ssh.service", "stops that unit when this unit stops"),
        ("Unit", "OnFailureJobMode=isolate", "stops every other unit of its machine"),
        ("Unit", "FailureAction=reboot-force", "ends the whole machine"),
        ("Unit", "SuccessAction=poweroff", "ends the whole machine"),
        ("Unit", "StartLimitAction=reboot", "ends the whole machine"),
        ("Unit", "JobTimeoutAction=reboot", "ends the whole machine"),
        ("Unit", "RefuseManualStop=yes", "keeps the agent from stopping the unit"),
        ("Install", "Alias=ssh.service", "refused by a machine that has ssh.service of its own"),
        ("Install", 'Alias="ssh.service"', "refused by a machine that has ssh.service of its own"),
        ("Install", "Also=ssh.service", "refused by a machine that has ssh.service of its own"),
        ("Install", "RequiredBy=multi-user.target", "would stop multi-user.target with this unit"),
        ("Install", "WantedBy=ssh.service", "refused by a machine that has ssh.service of its own"),
    ],
)
def test_what_reaches_the_host_is_told_with_its_line(section: str, line: str, words: str) -> None:
    (warning,) = told(f"{SERVICE}[{section}]\n{line}\n")
    assert words in warning
    assert warning.startswith("f:4: ")


@pytest.mark.parametrize(
    "text",
    [
        "[Unit]\nConflicts=shutdown.target\n",
        "[Unit]\nConflicts=ssh.service\nConflicts=\n",
        "[Unit]\nFailureAction=none\nOnFailureJobMode=fail\n",
        "[Install]\nWantedBy=multi-user.target timers.target\n",
        "[X-Fleet]\nConflicts=b.service\n",
        "[Unit]\nAfter=ssh.service\nWants=ssh.service\nPartOf=ssh.service\n",
        "#Conflicts=ssh.service\n",
        "[Install]\nWantedBy=dev-sdb.device\n",
    ],
)
def test_what_is_usual_is_not_warned_of(text: str) -> None:
    assert told(SERVICE + text) == []


def test_names_are_meant_as_systemd_expands_them() -> None:
    unit_file = parse("[Install]\nAlias=%p-x@.service s%i.service\nAlso=%n\n")
    assert links(unit_file, "a@sh.service") == (
        InstallLink("Alias", "a-x@.service", 2),
        InstallLink("Alias", "a-x@sh.service", 2),
        InstallLink("Alias", "ssh.service", 2),
        InstallLink("Also", "a@sh.service", 3),
    )


@given(st.text("[]\n=% @.\"'aAlionst\\Unit" + "Conflits", max_size=200))
def test_any_text_is_looked_at(text: str) -> None:
    assert all("\n" not in warning for warning in told("[Install]\n" + text))


@pytest.mark.parametrize("piece", ["Alias=", "Also=a@b ", "@", "%", ".", '"', "Conflicts=a\n"])
def test_a_long_file_is_looked_through_once(piece: str) -> None:
    assert len(told("[Install]\nAlias=" + piece * 30_000 + "\n[Unit]\n" + piece * 30_000)) <= MAX_FAULTS


def test_long_words_and_many_words_are_cut_before_they_are_expanded() -> None:
    text = "[Install]\nWantedBy=" + " ".join(f"{number}{'%n' * 2046}" for number in range(100))
    text += "\nAlso=" + " ".join(f"%i{number}" for number in range(40_000)) + "\n"
    found = links(parse(text), f"{'a' * 240}@1.service")
    assert max(len(each.unit) for each in found) < 300
    assert len(found) < 1500
