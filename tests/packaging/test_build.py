"""What `make packages` builds: the same bytes wherever the source lies, and what is in it."""

from __future__ import annotations

import shlex
import subprocess
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.documents import block
from tests.packaging.conftest import ROOT, Built

pytestmark = pytest.mark.timeout(1800)
PROGRAMS = {"fleet-agentd": "fleet-agentd", "fleet-scheduler": "fleet-scheduler", "fleettui": "fleetctl"}


def test_two_builds_in_different_directories_are_equal(built: Built, built_elsewhere: Built) -> None:
    assert [path.name for path in built.files] == [path.name for path in built_elsewhere.files]
    for one, other in zip(built.files, built_elsewhere.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_the_wheel_has_the_five_packages_and_the_unit_files(built: Built) -> None:
    (wheel,) = (path for path in built.files if path.suffix == ".whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"registry", "placement", "scheduler", "agentd", "fleettui"}
    assert "fleettui/services/fleet-agentd.service" in names


def test_the_documents_name_the_target_that_builds() -> None:
    (command,) = block("docs/install.md", "build").commands
    shown = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "packaging/build" in shown.stdout


def contents(deb: Path) -> set[str]:
    listed = subprocess.run(["dpkg-deb", "--contents", str(deb)], check=True, capture_output=True, text=True).stdout
    return {line.split()[5].removeprefix("./") for line in listed.splitlines()}


def test_each_package_has_its_program_its_manual_and_its_completion(built: Built) -> None:
    found = {deb.name.partition("_")[0]: contents(deb) for deb in built.debs}
    assert found.keys() == {*PROGRAMS, "fleet-common"}
    for package, program in PROGRAMS.items():
        assert f"usr/bin/{program}" in found[package]
    for package, manual in (
        ("fleet-agentd", "man8/fleet-agentd.8.gz"), ("fleet-scheduler", "man8/fleet-scheduler.8.gz"),
        ("fleettui", "man1/fleetctl.1.gz"), ("fleettui", "man1/fleettui.1.gz"),
        ("fleet-common", "man5/fleet.toml.5.gz"), ("fleet-common", "man5/fleet.unit.5.gz"),
    ):  # fmt: skip
        assert f"usr/share/man/{manual}" in found[package]
    assert {
        "usr/share/bash-completion/completions/fleetctl",
        "usr/share/zsh/vendor-completions/_fleetctl",
        "usr/share/fish/vendor_completions.d/fleetctl.fish",
    } <= found["fleettui"]


def test_daemons_carry_nothing_of_the_operators_side(built: Built) -> None:
    (common,) = (deb for deb in built.debs if deb.name.startswith("fleet-common"))
    tops = {
        name.split("/")[3]
        for name in contents(common)
        if name.startswith("usr/lib/fleet/") and name != "usr/lib/fleet/"
    }
    assert not {"textual", "rich", "asyncssh", "fleettui", "agentd", "scheduler"} & tops
    assert {"aiohttp", "etcd3", "dbus_next", "cryptography", "registry", "placement"} <= tops


@pytest.mark.parametrize(
    "text", [line for line in (ROOT / "packaging/requirements.txt").read_text().splitlines() if "==" in line]
)
def test_each_library_is_pinned_with_the_hashes_of_its_wheels(text: str) -> None:
    assert " --hash=sha256:" in text


def test_the_pinned_libraries_are_what_the_project_requires() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "packaging/requirements.txt").read_text().splitlines()
    pinned = dict(line.partition(" ")[0].split("==") for line in lines if "==" in line)
    for each in (*project["dependencies"], *project["optional-dependencies"]["operator"]):
        wanted = Requirement(each)
        assert wanted.name in pinned, f"{each} is not carried; run: packaging/lock"
        assert wanted.specifier.contains(pinned[wanted.name]), (
            f"{each}: {pinned[wanted.name]} is carried; run: packaging/lock"
        )
