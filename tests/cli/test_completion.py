"""Completion: what each shell is offered, live from the registry, and silence when anything is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from fleettui.actions.rollouts import ACTS as ROLLOUT_ACTS
from fleettui.cli.access import TAKES
from fleettui.cli.arguments import command_parser, global_parser
from fleettui.cli.commands import BY_NAME, SHOWN, STRICT, Command
from fleettui.cli.completion import BASH, FISH, complete
from fleettui.cli.configs import ACTS, SECRET_ACTS
from fleettui.cli.operands import RULES, forms, operand_actions, operand_rule, taking, value_rule
from registry.keys import Address, Table
from registry.model import Config, Rollout, Secret
from registry.roles import Role
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


def test_names_of_each_kind_are_offered_where_they_are_taken(fleetctl: Fleetctl, fleet: Fleet) -> None:
    for name in ("web@.service", "web@1.service"):
        fleet.add(name)
    fleet.put(fleet.keys.rollout("web-2"), Rollout("web-2", ()))
    fleet.put(fleet.keys.at(Address(Table.CONFIG, "shop")), Config("shop"))
    fleet.put(fleet.keys.at(Address(Table.SECRETS, "db")), Secret("db"))
    assert live(fleetctl, "history", "") == ["web@.service", "web@1.service"]
    assert live(fleetctl, "diff", "w") == live(fleetctl, "rollback", "w") == live(fleetctl, "rollout", "w")
    assert live(fleetctl, "scale", "") == ["web@.service"]
    assert live(fleetctl, "rollout", "pause", "") == ["web-2"]
    assert live(fleetctl, "config", "show", "") == ["shop"]
    assert live(fleetctl, "secret", "destroy", "other", "") == ["db"]
    assert live(fleetctl, "plan", "--without", "core-") == ["core-1", "core-2", "core-3"]
    assert live(fleetctl, "push", "file", "core-1", "core-3") == ["core-3"]
    assert live(fleetctl, "events", "--unit=web@1") == ["--unit=web@1.service"]


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("rollout s", ["status"]),
        ("rollout list ", []),
        ("config s", ["set", "show"]),
        ("config set shop A=1 ", []),
        ("secret h", ["history"]),
        ("access r", ["revoke", "rotate"]),
        ("access grant ann ", ["operator", "viewer", "scheduler", "agent"]),
        ("restart web@1 --at-a-time 2 --on-failure ", ["pause", "rollback"]),
        ("restart --on-failure=r", ["--on-failure=rollback"]),
        ("restart --healthy-for ", []),
        ("list-units --fields unit,h", ["unit,health", "unit,hash"]),
        ("list-machines --fields=machine,i", ["--fields=machine,ip"]),
        ("list-units --strict-host-key-checking=", [f"{STRICT}=true", f"{STRICT}=false"]),
        ("journal web -o json-p", ["json-pretty"]),
        ("help rebo", ["reboot"]),
        ("apply ", [":folders"]),
        ("backup ", [":files"]),
        ("restore ", [":files"]),
        ("push ", [":files"]),
        ("verify a.service b", [":files"]),
        ("rollout web@1 --file ", [":files"]),
        ("upgrade --to=", [":files"]),
        ("--config ", [":files"]),
        ("--endpoint ", []),
        ("--prefix /a/ reb", ["rebalance", "reboot"]),
        ("scale web@ ", []),
        ("nonsense ", []),
    ],
)  # fmt: skip
def test_words_and_paths_are_offered_where_they_are_taken(
    line: str, offers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(complete(Namespace(words=["--", *line.split(" ")])))
    assert capsys.readouterr().out.splitlines() == offers


@pytest.mark.parametrize("command", [*SHOWN, None], ids=lambda each: each.name if each else "global")
def test_each_word_of_each_verb_has_a_rule(command: Command | None) -> None:
    """A verb or a flag with values of a new kind needs a rule in `operands.RULES`, be it FREE."""
    parser = command_parser(command) if command else global_parser()
    for action in taking(parser).values():
        value_rule(action, command)
    takes = operand_actions(parser)
    for before in range(len(takes) - 1):
        operand_rule(command, takes, ["x"] * before) if command else None
    if command and takes and takes[-1].choices is None:
        for form in forms(str(takes[-1].metavar)):
            given = ["x"] * (len(takes) - 1) + ([form.act] if form.act else [])
            for count in range(len(form.kinds) + 1):
                operand_rule(command, takes, [*given, *["x"] * count])


def test_the_words_of_the_rules_are_those_that_are_known() -> None:
    assert RULES["ROLE"].words == tuple(each.value for each in Role if each is not Role.JOINER)
    for name, acts in (("config", ACTS), ("secret", SECRET_ACTS), ("access", TAKES)):
        (action,) = operand_actions(command_parser(BY_NAME[name]))
        assert [form.act for form in forms(str(action.metavar))] == [*acts]
    (action,) = operand_actions(command_parser(BY_NAME["rollout"]))
    assert [form.act for form in forms(str(action.metavar))] == ["", "list", "status", *ROLLOUT_ACTS, "redo"]


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
    paths = ":files\n" if typed == "start " else ""
    (tmp_path / "nasty").write_text("".join(f"{each}\n" for each in NASTY) + paths)
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


STUB = """#!/bin/sh
case "$*" in
*--file*|*--file=*) echo :files ;;
*apply*) echo :folders ;;
*--fields=*) printf '%s\\n' --fields=unit,hash --fields=unit,health ;;
esac
"""


@pytest.fixture
def stubbed(tmp_path: Path) -> dict[str, str]:
    """An environment in which another program stands in for fleetctl, and a folder with a file and a folder."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/fleetctl").write_text(STUB)
    (tmp_path / "bin/fleetctl").chmod(0o755)
    (tmp_path / "web.service").touch()
    (tmp_path / "web.d").mkdir()
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"}


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("rollout web --file we", ["web.d", "web.service"]),
        ("rollout web --file=we", ["web.d", "web.service"]),
        ("apply we", ["web.d"]),
        ("list-units --fields=unit,h", ["unit,hash", "unit,health"]),
    ],
)
def test_bash_finds_paths_and_what_follows_an_equals_sign(
    tmp_path: Path, stubbed: dict[str, str], line: str, offers: list[str]
) -> None:
    script = (
        f'{BASH}\nCOMP_LINE="fleetctl {line}"; COMP_POINT=${{#COMP_LINE}}; _fleetctl; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script], env=stubbed, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert sorted(done.stdout.splitlines()) == offers, done.stderr


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("rollout web --file we", ["web.d/", "web.service"]),
        ("rollout web --file=we", ["--file=web.d/", "--file=web.service"]),
        ("list-units --fields=unit,h", ["--fields=unit,hash", "--fields=unit,health"]),
    ],
)
def test_fish_finds_paths_and_what_follows_an_equals_sign(
    tmp_path: Path, stubbed: dict[str, str], line: str, offers: list[str]
) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("fish is not installed")
    script = f"{FISH}\ncomplete -C 'fleetctl {line}'"
    done = subprocess.run(
        [fish, "--no-config", "-c", script], env=stubbed, cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert sorted(each.partition("\t")[0] for each in done.stdout.splitlines()) == offers, done.stderr
