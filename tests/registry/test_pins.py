"""What a unit's file asks for, the versions that are written after it, and what may be in a config."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import UserError
from registry.units.check import verify
from registry.units.content import ConfigContent, config_text, content_hash, read_config, read_secret, secret_text
from registry.units.file import parse
from registry.units.pins import (
    Need,
    NeedKind,
    VersionPin,
    is_same,
    needs_of,
    outdated,
    pinned,
    pins_of,
    repinned,
    split,
)

ONE, TWO = "1" * 64, "2" * 64
FILE = "[X-Fleet]\nConfig=web common\nSecret=db:password token\n[Service]\nExecStart=/bin/true\n"


def test_a_text_gets_the_newest_versions_and_keeps_those_that_it_has() -> None:
    first = pinned(FILE, "a.service", lambda _: ONE)
    assert split(first)[0] == FILE
    assert [str(pin.need) for pin in pins_of(first)] == ["config web", "config common", "secret db", "secret token"]
    assert {pin.version for pin in pins_of(first)} == {ONE}
    assert pinned(first, "a.service", lambda _: TWO) == first
    assert pins_of(repinned(first, "a.service", lambda _: TWO))[0] == VersionPin(Need(NeedKind.CONFIG, "web"), TWO)
    edited = first.replace("Config=web common", "Config=web other")
    found = {pin.need.name: pin.version for pin in pins_of(pinned(edited, "a.service", lambda _: TWO))}
    assert found == {"web": ONE, "other": TWO, "db": ONE, "token": ONE}
    assert (
        split(
            pinned(first.replace("Config=web common\nSecret=db:password token\n", ""), "a.service", lambda _: TWO)
        )[1]
        == ""
    )
    assert verify("a.service", first, "a.service") == ()


def test_systemd_is_told_where_everything_is_and_refuses_a_start_without_it() -> None:
    unit_file = parse(pinned(FILE, "a.service", lambda _: ONE))
    service = [(entry.name, entry.value) for entry in unit_file.section("Service")]
    assert ("EnvironmentFile", f"/run/fleet/pins/config/web/{ONE}/environment") in service
    assert ("BindReadOnlyPaths", f"/run/fleet/pins/config/web/{ONE}/files:/run/fleet/config/web") in service
    assert ("LoadCredential", f"password:/run/fleet/pins/secret/db/{ONE}") in service
    assert ("LoadCredential", f"token:/run/fleet/pins/secret/token/{ONE}") in service
    assert len(unit_file.options("Unit", "AssertPathExists")) == 4


@given(st.sampled_from(["", "\n", "\n\n", "#", "\\", "\\\n", "ExecStop=/bin/true \\", "\r\n", "[Install]"]))
def test_the_end_is_read_by_itself_whatever_stands_before_it(tail: str) -> None:
    text = FILE + tail
    stored = pinned(text, "a.service", lambda _: ONE)
    assert is_same(stored, text)
    assert len(pins_of(stored)) == 4
    before = [(entry.section, entry.name, entry.value) for entry in parse(text).entries]
    after = [(entry.section, entry.name, entry.value) for entry in parse(stored).entries]
    assert after[: len(before)] == before


@pytest.mark.parametrize(
    "option",
    ["Config=../etc", "Config=.hidden", "Config=a/b", "Config=web:x", "Secret=db:", "Secret=db:a/b", "Secret=a b a",
     f"Config={'x' * 65}", "Config=web web", "Secret=:x"],
)  # fmt: skip
def test_a_name_that_would_lead_elsewhere_or_twice_to_one_place_is_refused_with_its_line(option: str) -> None:
    problems = verify("a.service", f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{option}\n", "a.service")
    assert [each.line for each in problems] == [4]


def test_only_services_have_a_config() -> None:
    text = "[Timer]\nOnCalendar=daily\n[X-Fleet]\nConfig=web\n"
    assert "for services" in verify("a.timer", text, "a.timer")[0].reason


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("Config=web", "Config is not handed to a container: Podman takes the quotes of an environment file"),
        ("Secret=db", "Secret is not handed to a container: systemd gives a credential to podman, and not to what"),
    ],
)
def test_a_quadlet_is_refused_with_the_reason(option: str, why: str) -> None:
    text = f"[Container]\nImage=localhost/web:1\n[X-Fleet]\n{option}\n"
    (problem,) = verify("web.container", text, "web.container")
    assert problem.line == 4
    assert why in problem.reason
    assert "run podman in a service that has it" in problem.remedy


def test_an_end_that_somebody_has_changed_is_refused() -> None:
    stored = pinned(FILE, "a.service", lambda _: ONE)
    for text in (f"{stored}ExecStop=/bin/true\n", stored.replace("LoadCredential=token", "LoadCredential=other")):
        assert "was changed" in verify("a.service", text, "a.service")[0].reason
        with pytest.raises(UserError, match="was changed"):
            pins_of(text)


def test_instances_may_ask_for_their_own_and_their_template_has_no_versions_then() -> None:
    text = "[X-Fleet]\nConfig=web-%i\n[Service]\nExecStart=/bin/true\n"
    assert needs_of(text, "a@7.service") == (Need(NeedKind.CONFIG, "web-7"),)
    assert pinned(text, "a@.service", lambda _: ONE) == text
    assert pins_of(pinned(text, "a@7.service", lambda _: ONE))[0].need.name == "web-7"


def test_what_is_outdated_is_named() -> None:
    stored = pinned(FILE, "a.service", lambda _: ONE)
    newest = {(NeedKind.CONFIG, "web"): TWO, (NeedKind.CONFIG, "common"): ONE, (NeedKind.SECRET, "db"): TWO}
    assert [str(each) for each in outdated(stored, newest)] == ["config web", "secret db"]
    assert outdated(FILE, newest) == ()


def test_a_content_is_the_same_text_for_the_same_things_and_another_for_another_name() -> None:
    content = ConfigContent({"b": b"\0\xff", "sub/a": b""}, {"B": "2", "A": "1"})
    text = config_text("web", content)
    assert read_config(text, "web") == content
    again = ConfigContent(dict(sorted(content.files.items(), reverse=True)), dict(content.variables))
    assert config_text("web", again) == text
    assert content_hash(config_text("other", content)) != content_hash(text)
    with pytest.raises(UserError, match="none of config other"):
        read_config(text, "other")
    assert read_secret(secret_text("db", "k1", b"\0sealed"), "db") == ("k1", b"\0sealed")


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../b", "a//b", "", ".", "a/", "x\n", "x\u202e", "a/b/c/d/e/f/g/h/i", "x" * 256],
)
def test_a_path_that_leads_out_of_its_folder_is_refused_also_from_the_registry(path: str) -> None:
    with pytest.raises(UserError):
        config_text("web", ConfigContent({path: b""}))
    text = config_text("web", ConfigContent({"good": b""})).replace('"good"', f'"{path}"')
    with pytest.raises(UserError):
        read_config(text, "web")


def test_limits_are_told() -> None:
    with pytest.raises(UserError, match="which takes 1048576"):
        config_text("web", ConfigContent({"big": b"x" * (1 << 20)}))
    with pytest.raises(UserError, match="no name of a variable"):
        config_text("web", ConfigContent({}, {"1A": ""}))
    with pytest.raises(UserError, match="control characters"):
        config_text("web", ConfigContent({}, {"A": "\x1b[31m"}))
    with pytest.raises(UserError, match="folder as well"):
        config_text("web", ConfigContent({"a": b"", "a/b": b""}))


@given(st.text())
def test_no_text_of_the_registry_is_more_than_refused(text: str) -> None:
    for read in (read_config, read_secret):
        with pytest.raises(UserError):
            read(text, "web")
