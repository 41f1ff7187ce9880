"""Completion: what each shell is offered, live from the registry, and silence when anything is wrong."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.cli.conftest import PROGRAM, Fleetctl
from tests.cli.fleet import ONE, Fleet
from tests.etcd_server import free_ports

pytestmark = pytest.mark.etcd


def offered(fleetctl: Fleetctl, *words: str) -> list[str]:
    done = fleetctl("__complete", "--", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_verbs_flags_units_and_machines_are_offered(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("web@1.service")
    fleet.add("db.service")
    assert offered(fleetctl, "st") == ["start", "stop", "status"]
    assert offered(fleetctl, "start", "--repl") == ["--replace"]
    assert offered(fleetctl, "--end") == ["--endpoint"]
    assert offered(fleetctl, "stop", "w") == ["web@1.service"]
    assert offered(fleetctl, "--prefix", fleet.keys.prefix, "stop", "--timeout", "3s", "") == [
        "db.service",
        "web@1.service",
    ]
    assert offered(fleetctl, "drain", "7aea") == [ONE]
    assert offered(fleetctl, "set-metadata", "7aea") == [ONE]
    assert offered(fleetctl, "ssh", "core-") == ["core-1", "core-2", "core-3"]
    assert offered(fleetctl, "ssh", "--unit", "d") == ["db.service"]
    assert offered(fleetctl, "completion", "") == ["bash", "zsh", "fish"]


def test_a_registry_out_of_reach_completes_nothing_in_silence(fleetctl: Fleetctl) -> None:
    fleetctl.environment["FLEETCTL_ENDPOINT"] = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert offered(fleetctl, "stop", "w") == []
    fleetctl.environment["FLEETCTL_ENDPOINT"] = "ftp://wrong"
    assert offered(fleetctl, "stop", "w") == []
    assert offered(fleetctl, "--nonsense", "stop", "w") == []


def test_bash_completes_words_with_colons_and_at_signs(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("a:b@1.service")
    script = (
        'source <(fleetctl completion bash); COMP_LINE="fleetctl stop a:b"; COMP_POINT=${#COMP_LINE}; '
        'COMP_WORDS=(fleetctl stop a : b); COMP_CWORD=4; _fleetctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{PROGRAM.parent}:{fleetctl.environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env=fleetctl.environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout.splitlines() == ["b@1.service"], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_sound_to_its_shell(fleetctl: Fleetctl, shell: str) -> None:
    script = fleetctl("completion", shell)
    assert script.returncode == 0
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [program, "-n"], input=script.stdout, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
