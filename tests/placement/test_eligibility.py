"""What machines object to units, in the words that users read."""

from __future__ import annotations

import pytest

from placement.eligibility import (
    DISTINCT_LIMIT,
    Objection,
    Requirement,
    Site,
    ambiguity,
    availability_objection,
    conflict_objection,
    conflict_pattern,
    cycle,
    fits,
    group,
    nowhere,
    preference,
    site_of,
    static_objections,
    summarise,
)
from registry.model import Availability, Machine, Override
from registry.units.options import ANYWHERE, FleetOptions

SITE = Site("abcd01", {"region": "r1", "disk": "ssd"})


def wants(**metadata: str) -> FleetOptions:
    """Options that ask for metadata; "a|b" stands for either."""
    return FleetOptions(
        metadata=tuple((key, frozenset(value.split("|"))) for key, value in sorted(metadata.items()))
    )


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        (ANYWHERE, ()),
        (wants(region="r1"), ()),
        (wants(region="r2|r1", disk="ssd"), ()),
        (wants(region="mars"), ("metadata region=mars required; it has region=r1",)),
        (wants(region="r3|r2"), ("metadata region=r2|r3 required; it has region=r1",)),
        (wants(gpu="yes"), ("metadata gpu=yes required; it has no gpu",)),
        (
            wants(disk="hdd", region="r2"),
            ("metadata disk=hdd required; it has disk=ssd", "metadata region=r2 required; it has region=r1"),
        ),
        (FleetOptions(machine_id="abcd"), ()),
        (FleetOptions(machine_id="abcd01"), ()),
        (FleetOptions(machine_id="bcd"), ("MachineID=bcd is not this machine",)),
    ],
)
def test_what_a_machine_objects_to_the_options(options: FleetOptions, reasons: tuple[str, ...]) -> None:
    assert tuple(each.reason for each in static_objections(options, SITE)) == reasons
    assert fits(options, SITE) is not bool(reasons)


@pytest.mark.parametrize(
    ("wanted", "machines", "ambiguous"),
    [
        (None, ("ab", "ac"), False),
        ("a", ("ab", "ac"), True),
        ("ab", ("ab", "abc"), False),
        ("a", ("ab", "bc"), False),
        ("x", ("ab", "ac"), False),
    ],
)
def test_a_machine_id_must_mean_one_machine(
    wanted: str | None, machines: tuple[str, ...], *, ambiguous: bool
) -> None:
    assert bool(ambiguity(FleetOptions(machine_id=wanted), machines)) is ambiguous


@pytest.mark.parametrize(
    ("site", "word"),
    [
        (Site("a", {}), None),
        (Site("a", {}, Availability.CORDONED), "cordoned"),
        (Site("a", {}, Availability.DRAINING), "draining"),
        (Site("a", {}, leaving=True), "leaving"),
        (Site("a", {}, trouble="its record is corrupt"), "its record is corrupt"),
    ],
)
def test_who_is_closed_says_why(site: Site, word: str | None) -> None:
    objection = availability_objection(site)
    assert (objection.reason if objection else None) == word
    assert site.open is (word is None)


def test_the_operators_metadata_and_cordon_count() -> None:
    machine = Machine("a", "h", "1.2.3.4", "b", (("disk", "ssd"), ("region", "r1")))
    site = site_of(machine, Override("a", Availability.CORDONED, (("disk", ""), ("region", "r2"))))
    assert (dict(site.metadata), site.open) == ({"region": "r2"}, False)


@pytest.mark.parametrize(
    ("mine", "theirs", "reason"),
    [
        (ANYWHERE, ANYWHERE, None),
        (FleetOptions(conflicts=("web@*",)), ANYWHERE, "conflicts with web@2.service, which is scheduled here"),
        (ANYWHERE, FleetOptions(conflicts=("u*",)), "web@2.service conflicts with it (Conflicts=u*)"),
        (ANYWHERE, FleetOptions(replaces=("u.service",)), "web@2.service replaces it (Replaces=u.service)"),
        (FleetOptions(replaces=("web@2.service",)), ANYWHERE, None),
        (FleetOptions(conflicts=("db@*",)), ANYWHERE, None),
    ],
)
def test_what_another_unit_on_the_machine_says(
    mine: FleetOptions, theirs: FleetOptions, reason: str | None
) -> None:
    found = conflict_objection("u.service", mine, "web@2.service", theirs)
    assert (found.reason if found else None) == reason


def test_a_unit_is_never_its_own_rival() -> None:
    options = FleetOptions(conflicts=("*",))
    assert conflict_pattern("u.service", options, "u.service", options) == ""


def test_a_rival_that_is_being_stopped_is_a_passing_objection() -> None:
    found = conflict_objection("u.service", FleetOptions(conflicts=("w*",)), "w.service", ANYWHERE, stopping=True)
    assert found == Objection(
        Requirement.CONFLICT,
        "conflicts with w.service, which is being stopped here",
        "a unit on it stands against this one (Conflicts=w*)",
        passing=True,
    )


def test_preference_is_fewest_units_then_lowest_id() -> None:
    assert sorted([(2, "a"), (1, "c"), (1, "b")], key=lambda pair: preference(*pair))[0] == (1, "b")


@pytest.mark.parametrize(
    ("leaders", "told"),
    [
        ({"a": ("b",)}, ""),
        ({"a": ("a",)}, "a -> a"),
        ({"a": ("x", "b"), "b": ("c",), "c": ("a",)}, "a -> b -> c -> a"),
        ({"a": ("b",), "b": ("c",), "c": ("b",)}, ""),
    ],
)
def test_circles_of_leaders(leaders: dict[str, tuple[str, ...]], told: str) -> None:
    found = cycle("a", lambda name: leaders.get(name, ()), most=10)
    assert (f"circle: {told};" in found) if told else found == ""


def test_refusals_are_grouped_sorted_and_bounded() -> None:
    few = {f"m{n}": Objection(Requirement.METADATA, "x" if n % 3 else "y", "b") for n in range(6)}
    assert [(each.reason, each.machines) for each in group(few)] == [
        ("x", ("m1", "m2", "m4", "m5")),
        ("y", ("m0", "m3")),
    ]
    many = {f"m{n}": Objection(Requirement.METADATA, f"reason {n}", "brief") for n in range(DISTINCT_LIMIT + 1)}
    assert [each.reason for each in group(many)] == ["brief"]


@pytest.mark.parametrize(
    ("objections", "line"),
    [
        ({}, "no machine is registered; start fleet-agentd"),
        (
            {"a": Objection(Requirement.METADATA, "…", "metadata region=mars required")},
            "no machine has region=mars (1 of 1 refuse)",
        ),
        (
            {
                "a": Objection(Requirement.AVAILABILITY, "cordoned", "cordoned"),
                "b": Objection(Requirement.MACHINE_ID, "no", "no"),
            },
            "no machine fits: cordoned (1 of 2), no (1 of 2)",
        ),
    ],
)
def test_one_line_that_says_why_a_unit_is_nowhere(objections: dict[str, Objection], line: str) -> None:
    assert summarise(objections, group(objections)) == line


@pytest.mark.parametrize(
    ("options", "objections", "line"),
    [
        (FleetOptions(machine_id="ff"), {}, "no machine has MachineID=ff"),
        (
            FleetOptions(metadata=(("disk", frozenset({"ssd"})), ("region", frozenset({"r2", "r1"})))),
            {},
            "no machine has disk=ssd and region=r1|r2",
        ),
        (
            FleetOptions(metadata=(("region", frozenset({"r1"})),), quadlet=True),
            {"a": Objection(Requirement.ROOM, "full: needs 2, 1 is free", "full: needs 2")},
            "no machine with region=r1 and podman 5.3 or newer fits: full: needs 2",
        ),
        (
            FleetOptions(),
            {
                "a": Objection(Requirement.CONFLICT, "b conflicts", "one conflicts"),
                "b": Objection(Requirement.AVAILABILITY, "cordoned", "cordoned"),
                "c": Objection(Requirement.AVAILABILITY, "cordoned", "cordoned"),
            },
            "no machine fits: cordoned, b conflicts",
        ),
    ],
)
def test_the_line_that_is_kept_tells_of_machines_that_fit(
    options: FleetOptions, objections: dict[str, Objection], line: str
) -> None:
    assert nowhere(options, objections) == line
