"""Unit names: grammar, parts, specifiers, globs."""

from __future__ import annotations

import fnmatch
import re
import shutil
import string
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import UserError
from registry.units import name as unitname
from registry.units.name import UnitName

LETTERS = string.ascii_letters + string.digits + ":_.\\-"
PLAIN_PARTS = st.text(LETTERS, min_size=1, max_size=40)
INSTANCES = st.text(LETTERS + "@", min_size=1, max_size=40)
TEMPLATABLE = st.sampled_from(sorted(unitname.TEMPLATE_TYPES))
PLAIN_NAMES = st.builds("{}.{}".format, PLAIN_PARTS, st.sampled_from(unitname.TYPES))
INSTANCE_NAMES = st.builds("{}@{}.{}".format, PLAIN_PARTS, INSTANCES, TEMPLATABLE)
NAMES = PLAIN_NAMES | INSTANCE_NAMES


@pytest.mark.parametrize(
    ("given_name", "full"),
    [
        ("web", "web.service"),
        ("web@1", "web@1.service"),
        ("web.service", "web.service"),
        ("foo.target", "foo.target"),
        ("v1.2", "v1.2.service"),
        ("web.servic", "web.servic.service"),
        ("", ".service"),
        *((f"a.{kind}", f"a.{kind}") for kind in unitname.TYPES),
    ],
)
def test_a_name_without_a_known_suffix_is_a_service(given_name: str, full: str) -> None:
    assert unitname.normalise(given_name) == full


@given(st.text())
def test_normalising_twice_normalises_once(text: str) -> None:
    once = unitname.normalise(text)
    assert unitname.normalise(once) == once


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("web.service", UnitName("web.service", "web", None, "service")),
        ("web@.service", UnitName("web@.service", "web", "", "service")),
        ("web@1.service", UnitName("web@1.service", "web", "1", "service")),
        ("a@b@c.timer", UnitName("a@b@c.timer", "a", "b@c", "timer")),
        ("web@1.2.socket", UnitName("web@1.2.socket", "web", "1.2", "socket")),
        ("-.mount", UnitName("-.mount", "-", None, "mount")),
        (r"var-a\x2db.mount", UnitName(r"var-a\x2db.mount", r"var-a\x2db", None, "mount")),
    ],
)
def test_parts(name: str, parts: UnitName) -> None:
    assert unitname.parse(name) == parts


def test_templates_and_their_instances_know_each_other() -> None:
    plain, template, instance = map(unitname.parse, ("web.service", "web@.service", "web@1.service"))
    assert (plain.is_template, template.is_template, instance.is_template) == (False, True, False)
    assert (plain.is_instance, template.is_instance, instance.is_instance) == (False, False, True)
    assert (plain.template, template.template, instance.template) == (None, "web@.service", "web@.service")
    assert template.with_instance("1") == instance


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "no unit type"),
        ("web", "no unit type"),
        ("web.snapshot", "no unit type"),
        ("web.Service", "no unit type"),
        (".service", "nothing before its .service"),
        ("@.service", "nothing before its @"),
        ("@1.service", "nothing before its @"),
        ("a b.service", "contains ' '"),
        ("a/b.service", "contains '/'"),
        ("../a.service", "contains '/'"),
        ("ä.service", "contains 'ä'"),
        ("a\n.service", r"contains '\n'"),
        ("a\x1b.service", r"contains '\x1b'"),
        ("web.service\n", r"contains '\n'"),
        ("web*.service", "contains '*'"),
        ("x" * 248 + ".service", "has 256 characters"),
        ("data@1.mount", "no templates of type mount"),
        ("data@.slice", "no templates of type slice"),
    ],
)
def test_bad_names_are_refused_with_reason_and_remedy(name: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        unitname.parse(name)
    reason, _, remedy = str(refused.value).partition("; ")
    assert says in reason
    assert remedy
    assert str(refused.value).isprintable()


def test_the_longest_name_is_systemds() -> None:
    assert unitname.refusal("x" * 247 + ".service") is None


@given(st.text() | NAMES)
def test_a_name_is_parsed_or_refused_in_one_printable_line(text: str) -> None:
    if found := unitname.refusal(text):
        assert "; ".join(found).isprintable()
        with pytest.raises(UserError):
            unitname.parse(text)
    else:
        assert unitname.parse(text).full == text


@given(NAMES)
def test_the_parts_make_the_name_again(name: str) -> None:
    unit = unitname.parse(name)
    at = "" if unit.instance is None else f"@{unit.instance}"
    assert f"{unit.prefix}{at}.{unit.type}" == name
    assert f"{unit.stem}.{unit.type}" == name


@pytest.mark.parametrize(
    ("text", "name", "expanded"),
    [
        ("%n", "web@1.service", "web@1.service"),
        ("%N", "web@1.service", "web@1"),
        ("%p-%i", "web@1.service", "web-1"),
        ("%p|%i", "web.service", "web|"),
        ("db@%i.service", "web@a-b.service", "db@a-b.service"),
        ("100%% of %p", "web.service", "100% of web"),
        ("%%i", "web@1.service", "%i"),
        ("plain", "not a name", "plain"),
    ],
)
def test_specifiers(text: str, name: str, expanded: str) -> None:
    assert unitname.expand(text, name) == expanded


@pytest.mark.parametrize("text", ["%H", "%", "a%", "%%%", "%I", "% i", "%\n"])
def test_unknown_specifiers_are_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UserError, match="use %n %N %p %i"):
        unitname.expand(text, "web@1.service")


@given(st.text(), NAMES)
def test_doubled_percent_signs_expand_back(text: str, name: str) -> None:
    assert unitname.expand(text.replace("%", "%%"), name) == text


@given(NAMES)
def test_the_specifiers_of_a_name_make_the_name(name: str) -> None:
    unit = unitname.parse(name)
    assert unitname.expand(f"%N.{unit.type}", name) == name == unitname.expand("%n", name)
    at = "" if unit.instance is None else "@"
    assert unitname.expand(f"%p{at}%i.{unit.type}", name) == name


def test_for_display_what_depends_on_the_machine_stays() -> None:
    shown = unitname.expand_for_display(r"%i %I on %H, 100%", r"web@a\x2db-c.service")
    assert shown == r"a\x2db-c a-b/c on %H, 100%"


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("web@*", "web@1.service", True),
        ("web@*.service", "web@.service", True),
        ("web@?.service", "web@1.service", True),
        ("web@?.service", "web@12.service", False),
        ("web@[1-3].service", "web@2.service", True),
        ("web@[1-3].service", "web@4.service", False),
        ("web@[^1-3].service", "web@4.service", True),
        ("web@[^1-3].service", "web@2.service", False),
        ("web@[!1-3].service", "web@2.service", False),
        ("web@[3-1].service", "web@2.service", False),
        ("*", "anything.target", True),
        ("web", "web.service", False),
        ("web.service", "web.service", True),
        ("webXservice*", "web.service", False),
        (r"a\x2db.service", r"a\x2db.service", True),
        (r"a\x2d*", r"a\x2db.service", True),
        ("web@[1.service", "web@[1.service", False),
        ("web@[[1].service", "web@1.service", False),
        ("*" * 256, "web.service", False),
    ],
)
def test_globs(pattern: str, name: str, fits: bool) -> None:
    assert unitname.matches(pattern, name) is fits


@given(st.text(LETTERS + "@*?[]^!", max_size=30), NAMES)
def test_globs_agree_with_the_shell_where_they_are_accepted(pattern: str, name: str) -> None:
    expected = unitname.glob_refusal(pattern) is None and fnmatch.fnmatchcase(name, pattern.replace("[^", "[!"))
    if unitname.is_literal(pattern):
        expected = pattern == name
    assert unitname.matches(pattern, name) is expected


@given(NAMES, st.data())
def test_a_name_with_holes_matches_the_name(name: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(name)))
    end = data.draw(st.integers(start, len(name)))
    assert unitname.matches(f"{name[:start]}*{name[end:]}", name)
    assert unitname.matches(name[:start] + "?" * (end - start) + name[end:], name)


@given(st.text(), st.text())
def test_no_pattern_raises(pattern: str, name: str) -> None:
    unitname.matches(pattern, name)
    unitname.glob_refusal(pattern)


@pytest.mark.timeout(120)
def test_a_pattern_full_of_stars_is_no_burden() -> None:
    assert not unitname.matches("*a" * 120 + "b", "a" * 240 + ".service")


@pytest.mark.parametrize("pattern", ["a[", "a[]", "a]*", "a[b", "a[*]", "a b*", "a/*", "x*" + "y" * 255])
def test_bad_globs_are_refused_with_reason_and_remedy(pattern: str) -> None:
    found = unitname.glob_refusal(pattern)
    assert found is not None
    assert all(found)


def test_a_glob_is_told_from_a_name() -> None:
    assert [text for text in ("a", "a*", "a?", "a[1]", r"a\x2d") if unitname.is_glob(text)] == ["a*", "a?", "a[1]"]
    assert unitname.normalise_pattern("web") == "web.service"
    assert unitname.normalise_pattern("web@*") == "web@*"


PATHS = ["/", "/var/lib/a-b", "//x//y/", "/.hidden/x", "/a b", "/ü", "/a@b", "/x:y_z.w", "/a\\b", "/mnt"]


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="needs systemd-escape")
def test_paths_are_escaped_as_systemd_does() -> None:
    command = ["systemd-escape", "--path", *PATHS]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [unitname.escape_path(path) for path in PATHS] == answer


@given(st.lists(st.from_regex(re.compile(r"[^/\x00]{1,9}"), fullmatch=True), min_size=1, max_size=4))
def test_escaping_a_path_can_be_undone(parts: list[str]) -> None:
    escaped = unitname.escape_path("/" + "/".join(parts))
    assert unitname.refusal(f"{escaped}.mount") is None or len(escaped) > 200
    if escaped.isascii():
        assert unitname.unescape(escaped) == "/".join(parts)
