"""The [X-Fleet] section: meanings, older names, contradictions, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import UserError
from registry.units import file as unitfile
from registry.units import options as fleetoptions
from registry.units.options import ANYWHERE, FailureLimit, FleetOptions, Reserve

MACHINE = "7aea1bb4d1f94d0e8c3f6f7a1b2c3d4e"


def options(body: str, name: str = "web@1.service") -> FleetOptions:
    return fleetoptions.parse_options(unitfile.parse(f"[X-Fleet]\n{body}\n"), name)


def complaints(body: str, name: str = "web@1.service") -> list[str]:
    """The problems of a section whose options begin on line 2, as `line: text`."""
    found = fleetoptions.check_options(unitfile.parse(f"[X-Fleet]\n{body}\n"), name, "f")
    return [str(problem).removeprefix("f:") for problem in found]


def refusal_of(attempt: Callable[[], object]) -> str:
    """What the user is told, or nothing."""
    try:
        attempt()
    except UserError as error:
        return str(error)
    return ""


def metadata(**values: str) -> FleetOptions:
    return FleetOptions(metadata=tuple((key, frozenset(words.split())) for key, words in sorted(values.items())))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", ANYWHERE),
        (f"MachineID={MACHINE}", FleetOptions(machine_id=MACHINE)),
        ("MachineID=7AEA", FleetOptions(machine_id="7aea")),
        ("X-ConditionMachineID=7aea", FleetOptions(machine_id="7aea")),
        ("X-ConditionMachineBootID=7aea", FleetOptions(machine_id="7aea")),
        ("MachineID=7aea\nMachineID=7aea", FleetOptions(machine_id="7aea")),
        ("MachineID=7aea\nMachineID=", ANYWHERE),
        ("MachineOf=db", FleetOptions(machine_of=("db.service",))),
        ("MachineOf=db.service\nX-ConditionMachineOf=c@1", FleetOptions(machine_of=("db.service", "c@1.service"))),
        ("MachineOf=a.target b.socket a.target", FleetOptions(machine_of=("a.target", "b.socket"))),
        ("MachineOf=%p-db@%i.service", FleetOptions(machine_of=("web-db@1.service",))),
        ("Conflicts=web@*.service", FleetOptions(conflicts=("web@*.service",))),
        ("MemoryReserve=1.5G", FleetOptions(reserve=Reserve(memory_bytes=3 << 29))),
        ("MemoryReserve=1G\nMemoryReserve=512M", FleetOptions(reserve=Reserve(memory_bytes=1 << 29))),
        ("CPUReserve=150%", FleetOptions(reserve=Reserve(cpu_millis=1500))),
        ("CPUReserve=0.5", FleetOptions(reserve=Reserve(cpu_millis=500))),
        ("[Service]\nMemoryMax=512M\nCPUQuota=20%", FleetOptions(reserve=Reserve(1 << 29, 0.0, 200))),
        ("[Service]\nMemoryMax=25%", FleetOptions(reserve=Reserve(memory_share=0.25))),
        ("MemoryReserve=1G\n[Service]\nMemoryMax=25%", FleetOptions(reserve=Reserve(memory_bytes=1 << 30))),
        ("MemoryReserve=0\nCPUReserve=0\n[Service]\nMemoryMax=1G\nCPUQuota=20%", ANYWHERE),
        ("[Service]\nMemoryMax=infinity\nCPUQuota=", ANYWHERE),
        ("[Service]\nMemoryMax=lots\nCPUQuota=20", ANYWHERE),
        ("SpreadOver=region", FleetOptions(spread="region")),
        (
            "PreferMetadata=disk=ssd disk=nvme\nPreferMetadata=a=1",
            FleetOptions(prefer=(("a", frozenset({"1"})), ("disk", frozenset({"nvme", "ssd"})))),
        ),
        ("Sticky=yes", FleetOptions(sticky=True)),
        ("Sticky=yes\nSticky=no", ANYWHERE),
        ("MoveAfterFailures=3/10min", FleetOptions(move_after=FailureLimit(3, 600.0))),
        ("MoveAfterFailures=1/90", FleetOptions(move_after=FailureLimit(1, 90.0))),
        (
            "Conflicts=%p@*.service db\nX-Conflicts=x?",
            FleetOptions(conflicts=("web@*.service", "db.service", "x?")),
        ),
        ("Replaces=old@*.service", FleetOptions(replaces=("old@*.service",))),
        ("Global=true", FleetOptions(is_global=True)),
        ("Global=YES", FleetOptions(is_global=True)),
        ("Global=off", ANYWHERE),
        ("Global=yes\nGlobal=no", ANYWHERE),
        ("Global=no\nMachineOf=db", FleetOptions(machine_of=("db.service",))),
        ("MachineMetadata=a=1", metadata(a="1")),
        ("MachineMetadata=b=1 a=2", metadata(a="2", b="1")),
        ('MachineMetadata="a=1" "a=2" "b=3"', metadata(a="1 2", b="3")),
        ("MachineMetadata=a=1\nX-ConditionMachineMetadata='a=2'", metadata(a="1 2")),
        ("MachineMetadata=a=1\nMachineMetadata=\nMachineMetadata=b=2", metadata(b="2")),
        ('MachineMetadata="os=Debian 12"', FleetOptions(metadata=(("os", frozenset({"Debian 12"})),))),
        ("MachineMetadata=rack=%i", metadata(rack="1")),
        ("MachineMetadata=load=50%%", metadata(load="50%")),
    ],
)
def test_meanings(body: str, expected: FleetOptions) -> None:
    assert options(body) == expected
    assert complaints(body) == []


@pytest.mark.parametrize(
    ("body", "line", "says"),
    [
        ("MachineID=7aea\nMachineID=8b", 3, "two machines"),
        ("MachineID=web-host", 2, "no machine id"),
        ("MachineID=" + "a" * 33, 2, "no machine id"),
        ("MachineOf=web@*", 2, "is a pattern"),
        ("MachineOf=db@", 2, "is a template"),
        ("MachineOf=a/b", 2, "contains '/'"),
        ("MachineOf=%p", 2, None),
        ("MachineOf=%n", 2, "follow itself"),
        ("Conflicts=web@.service", 2, "web@*.service"),
        ("Conflicts=web@[1", 2, "bracket"),
        ("Conflicts=a,b", 2, "contains ','"),
        ("Replaces=a/*", 2, "contains '/'"),
        ("Global=maybe", 2, "neither true nor false"),
        ("MachineMetadata=region", 2, "not key=value"),
        ("MachineMetadata==eu", 2, "not key=value"),
        ("MachineMetadata=region=", 2, "not key=value"),
        ("MachineMetadata=a=b=c", 2, "not usable"),
        ("MachineMetadata=a=1,b=2", 2, "not usable"),
        ('MachineMetadata="a =1"', 2, "not usable"),
        ('MachineMetadata="a= 1"', 2, "not usable"),
        ('MachineMetadata="a=1', 2, "do not pair up"),
        ('MachineMetadata="a=1""b=2"', 2, "do not pair up"),
        ("MachineMetadata=\n\nMachineMetadata=zone=%H", 4, "unknown specifier '%H'"),
        ("MachineMetadata=load=50%", 2, "%% for a percent sign"),
        ("MemoryReserve=512X", 2, "is no size; write for example 512M"),
        ("MemoryReserve=-1", 2, "is no size"),
        ("MemoryReserve=9999999999E", 2, "is no size"),
        ("MemoryReserve=25%", 2, "specifier"),
        ("CPUReserve=half", 2, "is no number of processors; write for example 50%"),
        ("CPUReserve=99999999", 2, "is no number of processors"),
        ("SpreadOver=a=b", 2, "is not usable"),
        ("SpreadOver=region rack", 2, "two metadata keys; keep one"),
        ("PreferMetadata=ssd", 2, "not key=value"),
        ("Sticky=perhaps", 2, "neither true nor false"),
        ("MoveAfterFailures=3", 2, "write for example 3/10min"),
        ("MoveAfterFailures=0/10min", 2, "a number from 1"),
        ("MoveAfterFailures=3/10fortnights", 2, "is no span of time"),
        ("MoveAfterFailures=3/0s", 2, "is no span of time"),
        ("Globl=true", 2, "did you mean Global?"),
        ("machineid=7aea", 2, "did you mean MachineID?"),
        ("X-ConditionMachineOff=a", 2, "did you mean X-ConditionMachineOf?"),
        ("Colour=red", 2, "the options are MachineID, MachineOf"),
        ("\x1b[31m=1", 2, r"'\x1b[31m'"),
    ],
)
def test_refusals_name_the_line_and_the_remedy(body: str, line: int, says: str | None) -> None:
    found = complaints(body)
    if says is None:
        assert found == []
        return
    (complaint,) = found
    assert complaint.startswith(f"{line}: ")
    assert says in complaint
    assert "; " in complaint
    assert complaint.isprintable()


EXAMPLES = {
    "MachineID": "7aea",
    "MachineOf": "db.service",
    "MachineMetadata": "a=1",
    "Conflicts": "x@*",
    "Replaces": "y@*",
    "Global": "yes",
    "MemoryReserve": "512M",
    "CPUReserve": "50%",
    "SpreadOver": "region",
    "PreferMetadata": "disk=ssd",
    "Sticky": "yes",
    "MoveAfterFailures": "3/10min",
}
RESERVES = ("MemoryReserve", "CPUReserve")
PREFERENCES = ("SpreadOver", "PreferMetadata", "Sticky", "MoveAfterFailures")
TOGETHER = [
    {"MachineMetadata", "MachineID"},
    {"MachineMetadata", "MachineOf"},
    {"MachineMetadata", "Conflicts"},
    {"MachineMetadata", "Replaces"},
    {"MachineMetadata", "Global"},
    {"MachineOf", "Conflicts"},
    {"MachineOf", "Replaces"},
    {"Global", "Conflicts"},
    *({reserve, each} for reserve in RESERVES for each in EXAMPLES if each != reserve),
    *(set(pair) for pair in itertools.combinations(PREFERENCES, 2)),
    *({each, other} for each in PREFERENCES for other in ("MachineMetadata", "Conflicts", "Replaces")),
    *({each, "MachineID"} for each in PREFERENCES if each != "MoveAfterFailures"),
]


@pytest.mark.parametrize(("one", "other"), itertools.permutations(EXAMPLES, 2))
def test_which_options_stand_together(one: str, other: str) -> None:
    found = complaints(f"{one}={EXAMPLES[one]}\n{other}={EXAMPLES[other]}")
    if {one, other} in TOGETHER:
        assert found == []
    else:
        (complaint,) = found
        assert complaint.startswith("3: ")
        assert "exclude each other" in complaint


def test_parsing_tells_every_fault_at_once() -> None:
    with pytest.raises(UserError) as refused:
        options("MachineID=zz\nColour=red\nMachineMetadata=x")
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["web@1.service:2", "web@1.service:3", "web@1.service:4"]


def test_a_template_is_checked_as_one_of_its_instances() -> None:
    assert complaints("MachineOf=db@%i.service\nMachineMetadata=rack=%i", "web@.service") == []
    assert len(complaints("MachineOf=db@%i/x", "web@.service")) == 1
    assert len(complaints("MachineOf=%p@%i", "web@.service")) == 1


def test_following_oneself_is_said_at_submit_and_left_to_the_scheduler_after() -> None:
    assert len(complaints("MachineOf=web@1")) == 1
    assert options("MachineOf=web@1") == FleetOptions(machine_of=("web@1.service",))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[X-FLEET]\nGlobal=true", 1, "write [X-Fleet]"),
        ("[Unit]\n[X-Flet]\n", 2, "write [X-Fleet]"),
        ("[Unit]\nX-ConditionMachineOf=db.service", 2, "move it to [X-Fleet]"),
        ("[Service]\nGlobal=true", 2, "move it to [X-Fleet]"),
    ],
)
def test_options_in_the_wrong_section(text: str, line: int, says: str) -> None:
    (problem,) = fleetoptions.check_options(unitfile.parse(text), "web.service", "f")
    assert problem.line == line
    assert says in problem.remedy


@pytest.mark.parametrize("text", ["[Unit]\nConflicts=a.service", "[X-Notes]\nGlobal=true", "[X-Fleece]\nx=1"])
def test_what_belongs_to_systemd_or_to_others_is_left_alone(text: str) -> None:
    unit_file = unitfile.parse(text)
    assert fleetoptions.check_options(unit_file, "web.service", "f") == ()
    assert fleetoptions.parse_options(unit_file, "web.service") is ANYWHERE


def test_options_are_cheap_to_keep_and_compare() -> None:
    first, second = options("MachineMetadata=b=2 a=1 a=3"), options("MachineMetadata=a=3 a=1\nMachineMetadata=b=2")
    assert first == second
    assert hash(first) == hash(second)
    assert not hasattr(first, "__dict__")


@pytest.mark.parametrize(
    ("body", "uses"),
    [("MachineOf=a@%i", True), ("MachineMetadata=a=1%%", True), ("Conflicts=a@*", False), ("", False)],
)
def test_uses_specifiers(body: str, uses: bool) -> None:
    text = f"[Unit]\nDescription=%i\n[X-Fleet]\n{body}\n"
    assert fleetoptions.uses_specifiers(unitfile.parse(text)) is uses


OF_NAMES = ("name another unit", "is none; remove it")  # faults of one name, which the scheduler passes over
BODIES = st.lists(
    st.tuples(
        st.sampled_from([*fleetoptions.OPTIONS, *fleetoptions.LEGACY, "Other"]),
        st.text(st.sampled_from("ab1=,.@*%ip[]\"' \\"), max_size=20)
        | st.sampled_from([*EXAMPLES.values(), "web@1", "a@%i"]),
    ),
    max_size=6,
).map(lambda pairs: "\n".join(f"{name}={value}" for name, value in pairs))


@given(BODIES, st.sampled_from(["web.service", "web@.service", "web@1.service"]))
def test_a_section_is_read_exactly_when_nothing_is_wrong_with_it(body: str, name: str) -> None:
    later = (": Health", ": Artifact", ": Config", ": Secret")  # told at submit alone
    told = [each for each in complaints(body, name) if not any(option in each for option in later)]
    wrong = [complaint for complaint in told if not complaint.endswith(OF_NAMES)]
    if wrong:
        with pytest.raises(UserError):
            options(body, name)
    else:
        hash(options(body, name))


@given(BODIES)
def test_without_specifiers_every_instance_has_the_same_options(body: str) -> None:
    unit_file = unitfile.parse(f"[X-Fleet]\n{body}\n")
    if fleetoptions.uses_specifiers(unit_file):
        return
    first, second = (partial(fleetoptions.parse_options, unit_file, f"web@{i}.service") for i in (1, 2))
    if refusal_of(first):
        assert refusal_of(second)
    else:
        assert first() == second()


@given(st.lists(st.text(st.characters(exclude_characters="\"'\\\r\n"), max_size=9)))
def test_quoted_words_come_back(texts: list[str]) -> None:
    quoted = " ".join(f'"{text}"' for text in texts)
    assert fleetoptions.words(quoted) == tuple(texts)


@pytest.mark.parametrize("understand", [fleetoptions.words, fleetoptions.metadata_pair])
@given(text=st.text())
def test_any_text_is_understood_or_refused(understand: Callable[[str], object], text: str) -> None:
    assert refusal_of(lambda: understand(text)).isprintable()


def test_only_instances_are_spread() -> None:
    assert complaints("SpreadOver=region", "web@.service") == []
    assert complaints("SpreadOver=region", "web.service") == [
        "2: SpreadOver spreads instances, and web.service is none; remove it"
    ]


def test_a_limit_without_a_section_of_the_fleet_is_a_reserve() -> None:
    unit_file = unitfile.parse("[Service]\nMemoryMax=2G\n")
    assert fleetoptions.parse_options(unit_file, "web.service") == FleetOptions(reserve=Reserve(2 << 30))
