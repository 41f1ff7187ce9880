"""Quadlets as the registry knows them: names, rules, what lies beside them, and what Podman's generator says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.units import name as unitname
from registry.units.check import verify
from registry.units.file import parse
from registry.units.quadlet import complaint_about, needed_beside, runs_quadlets

CONTAINER = "[Container]\nImage=localhost/a\n"
STEMS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
NAMES = st.builds("{}.{}".format, STEMS, st.sampled_from(unitname.TYPES))


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("web.container", "web.service"),
        ("web@1.container", "web@1.service"),
        ("pod.kube", "pod.service"),
        ("web.pod", "web-pod.service"),
        ("data.volume", "data-volume.service"),
        ("app.network", "app-network.service"),
        ("base.image", "base-image.service"),
        ("base.build", "base-build.service"),
        ("web.service", "web.service"),
        ("tick.timer", "tick.timer"),
    ],
)
def test_the_service_that_is_made_of_a_quadlet(name: str, service: str) -> None:
    assert unitname.service_of(name) == service
    assert unitname.normalise(name) == name


@given(NAMES)
def test_rivals_are_the_units_that_systemd_has_under_the_same_name(name: str) -> None:
    assert {unitname.service_of(each) for each in unitname.rivals(name)} <= {unitname.service_of(name)}
    assert all(name in unitname.rivals(each) for each in unitname.rivals(name))
    assert name not in unitname.rivals(name)


def test_a_container_and_a_service_of_one_name_are_rivals() -> None:
    assert set(unitname.rivals("web.service")) == {"web.container", "web.kube"}
    assert set(unitname.rivals("a-volume.service")) == {"a-volume.container", "a-volume.kube", "a.volume"}
    assert unitname.rivals("tick.timer") == ()


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.container", "[Container]\nExec=x\n", "the container has no Image or Rootfs"),
        ("a.container", "[Unit]\nDescription=x\n", "a container needs a section [Container]"),
        ("a.container", f"{CONTAINER}ServiceName=b\n", "ServiceName gives the service another name"),
        ("a.container", f"{CONTAINER}[Volume]\n", "section [Volume] does not belong in a container unit"),
        ("a.build", "[Build]\nImageTag=a\n", "the build has no File or SetWorkingDirectory"),
        ("a.kube", "[Kube]\n", "the kube has no Yaml"),
        ("a@1.volume", "[Volume]\n", "systemd has no templates of type volume"),
        ("a.service", f"{CONTAINER}[Service]\nExecStart=/bin/true\n", "[Container] does not belong in a service"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_quadlet_is_said(name: str, text: str, reason: str) -> None:
    assert any(reason in str(problem) for problem in verify(name, text, name))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a@.container", f"{CONTAINER}[Service]\nRestart=always\n[Install]\nWantedBy=multi-user.target\n"),
        ("a.container", f"{CONTAINER}[Quadlet]\nDefaultDependencies=false\n[X-Fleet]\nGlobal=true\n"),
        ("a.volume", "[Volume]\n"),
        ("a.network", "[Network]\nSubnet=10.0.0.0/24\n"),
        ("a.pod", "[Pod]\n"),
        ("a.build", "[Build]\nImageTag=a\nFile=/srv/Containerfile\n"),
    ],
)
def test_a_quadlet_may_be_submitted(name: str, text: str) -> None:
    assert verify(name, text, name) == ()


def test_what_a_file_names_has_to_lie_beside_it() -> None:
    text = (
        "[Container]\nImage=base.image\nVolume=data.volume:/data:Z\nVolume=/srv:/srv\nNetwork=app.network:ip=10.0.0.2\n"
        "Network=host\nPod=web.pod\nMount=type=volume,source=more.volume,destination=/more\nVolume=own-%i.volume:/own\n"
    )
    found = ("data.volume", "own-1.volume", "app.network", "base.image", "web.pod", "more.volume")
    assert needed_beside(parse(text), "web@1.container") == found
    assert needed_beside(parse(text), "web@1.service") == ()
    assert needed_beside(parse("[Container]\nVolume=a.volume:/a\nVolume=\n"), "a.container") == ()


@pytest.mark.parametrize(
    ("podman", "enough"),
    [("", False), ("4.3.1", False), ("4.9.3", False), ("5.2.9", False), ("5.3.0", True), ("5.4.2", True),
     ("10.0", True), ("nonsense", False), ("5", False)],
)  # fmt: skip
def test_which_podman_can_run_them(podman: str, enough: bool) -> None:
    assert runs_quadlets(podman) is enough


def test_what_the_generator_says_of_one_file() -> None:
    said = (
        "quadlet-generator[1]: Loading source unit file /run/q/web.container\n"
        "quadlet-generator[1]: converting \"bad.container\": unsupported key 'Imge' in group 'Container' in /q/b\n"
        'converting "web.container": requested Quadlet unit app.network was not found\n'
    )
    assert complaint_about("web.container", said) == "requested Quadlet unit app.network was not found"
    assert complaint_about("bad.container", said).startswith("unsupported key 'Imge'")
    assert complaint_about("other.container", said) == ""


@given(st.text(max_size=200), NAMES)
def test_any_text_of_a_generator_is_read(said: str, name: str) -> None:
    assert "\n" not in complaint_about(name, said)


def test_a_long_line_of_the_generator_s_is_read_in_proportion_to_its_length() -> None:
    long = "quadlet-generator[1]: Loading unit /x/web.container " + "web.container " * 50_000
    said = f'{long}\nconverting "web.container": no such key\n'
    assert complaint_about("web.container", said) == "no such key"
