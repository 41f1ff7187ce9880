"""Completion: what each shell is offered, live from the registry, and silence when anything is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fleettui.cli.completion import BASH
from tests.cli.conftest import PROGRAM, Fleetctl
from tests.cli.fleet import ONE, Fleet
from tests.etcd_server import free_ports

pytestmark = pytest.mark.etcd


def offered(fleetctl: Fleetctl, *words: str) -> list[str]:
    done = fleetctl("__complete", "--", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def live(fleetctl: Fleetctl, *words: str) -> list[str]:
    """What is offered once the registry answers in time: a busy host may be too slow, and then nothing is."""
    return next((found for _ in range(20) if (found := offered(fleetctl, *words))), [])


def test_verbs_flags_units_and_machines_are_offered(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("web@1.service")
    fleet.add("db.service")
    assert offered(fleetctl, "st") == ["start", "stop", "status"]
    assert offered(fleetctl, "start", "--repl") == ["--replace"]
    assert offered(fleetctl, "--end") == ["--endpoint"]
    assert live(fleetctl, "stop", "w") == ["web@1.service"]
    assert live(fleetctl, "--prefix", fleet.keys.prefix, "stop", "--timeout", "3s", "") == [
        "db.service",
        "web@1.service",
    ]
    assert live(fleetctl, "drain", "7aea") == [ONE]
    assert live(fleetctl, "set-metadata", "7aea") == [ONE]
    assert live(fleetctl, "ssh", "core-") == ["core-1", "core-2", "core-3"]
    assert live(fleetctl, "ssh", "--unit", "d") == ["db.service"]
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
    for _ in range(20):  # a busy host may be too slow, and then nothing is offered
        done = subprocess.run(
            ["bash", "-c", script],
            env=fleetctl.environment | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.stdout.strip():
            break
    assert done.stdout.splitlines() == ["b@1.service"], done.stderr


NASTY = (
    "$(touch owned)",
    "`touch owned`",
    "*",
    "a b",
    "x;touch owned",
    "'",
    '"',
    "\\",
    "~",
    "{a,b}",
    "a\\x2db",
    "#",
    "!x",
)


@pytest.mark.parametrize("typed", ["stop ", "start "])
def test_what_bash_is_offered_is_a_word_and_nothing_that_it_obeys(tmp_path: Path, typed: str) -> None:
    """Whatever the program offers: here another one stands in for it."""
    (tmp_path / "nasty").write_text("".join(f"{each}\n" for each in NASTY))
    stub = tmp_path / "fleetctl"
    stub.write_text(f"#!/bin/sh\ncat {tmp_path}/nasty\n")
    stub.chmod(0o755)
    script = (
        f'{BASH}\nCOMP_LINE="fleetctl {typed}"; COMP_POINT=${{#COMP_LINE}}; _fleetctl; '
        'for each in "${COMPREPLY[@]}"; do eval "words=($each)"; printf "%s|%s\\n" "${#words[@]}" "$words"; done'
        if typed == "stop "
        else f'{BASH}\nCOMP_LINE="fleetctl {typed}"; COMP_POINT=${{#COMP_LINE}}; _fleetctl; '
        'for each in "${COMPREPLY[@]}"; do printf "1|%s\\n" "$each"; done'
    )
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": path}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert [f"1|{each}" for each in NASTY] == done.stdout.splitlines()[: len(NASTY)], done.stderr
    assert not (tmp_path / "owned").exists()


def test_names_that_a_shell_or_a_terminal_would_obey_are_not_offered(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("web@1.service")
    for digit, hostname in (("9", "$(touch owned)"), ("8", "\x1b[2J"), ("6", "-f"), ("5", "a b")):
        record = {"hostname": hostname, "address": "10.0.0.9", "boot_id": "b"}
        fleet.put(fleet.keys.machine(digit * 32), json.dumps(record).encode())  # past our own encoder
    found = live(fleetctl, "ssh", "")
    assert found
    assert all(re.fullmatch(r"[A-Za-z0-9:_.@-]+", each) for each in found)


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


def test_zsh_asks_from_the_first_word_on_where_a_vendor_installed_the_script(fleetctl: Fleetctl) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    fleetctl.write("_fleetctl", fleetctl("completion", "zsh").stdout)
    script = (
        "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; compadd() { :; }; "
        "fleetctl() { print $* >asked; }; words=(fleetctl st); CURRENT=2; $_comps[fleetctl]"
    )
    subprocess.run([zsh, "-fc", script], cwd=fleetctl.home, env=fleetctl.environment, timeout=60, check=False)
    assert (fleetctl.home / "asked").read_text() == "__complete -- st\n"
