"""Every command that the demo advises opens the very cluster that it speaks of, whatever else is configured."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from fleettui.__main__ import parser, read_settings
from fleettui.demo import advice, commands
from fleettui.demo.advice import demo, opening
from fleettui.demo.commands import hints
from registry.errors import UserError

OTHER = '[etcd]\nendpoints = ["http://192.0.2.1:2379"]\n'
ELSEWHERE = "http://192.0.2.3:2379"
OURS = '[etcd]\nendpoints = ["http://192.0.2.7:2379"]\n'


def opened(words: str, environ: dict[str, str]) -> tuple[str, ...]:
    """The endpoints that a command line would speak to."""
    argv, left = shlex.split(words), dict(environ)
    if argv[0] == "env":
        argv = argv[1:]
        while argv[0] == "-u":
            left.pop(argv[1], None)
            argv = argv[2:]
    return read_settings(parser().parse_args(argv[1:]), left).etcd.endpoints


@pytest.mark.parametrize("own_file", [False, True])
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"FLEETCTL_ENDPOINT": ELSEWHERE},
        {"FLEET_ETCD_ENDPOINTS": ELSEWHERE},
        "other",
    ],
)
def test_an_advised_program_opens_that_cluster(
    tmp_path: Path, variables: dict[str, str] | str, *, own_file: bool
) -> None:
    config = tmp_path / "clusters of mine" / "cons" / "fleet.toml"
    mine = tmp_path / "home" / "fleet" / "fleet.toml"
    for path, text in ((config, OURS), (mine, OTHER)):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    environ = {"XDG_CONFIG_HOME": str(mine.parent.parent if own_file else tmp_path / "none")}
    environ |= {"FLEET_CONFIG": str(mine)} if isinstance(variables, str) else variables
    assert opened(opening("fleettui", config, environ), environ) == ("http://192.0.2.7:2379",)


def test_an_advised_program_is_bare_where_that_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "fleet.toml"
    config.write_text(OURS)
    monkeypatch.setattr(advice, "operator_config", lambda: config)
    monkeypatch.setattr(advice, "operator_files", lambda _: ())
    assert "--config" not in opening("fleettui", config, {})


def test_demo_commands_name_their_cluster() -> None:
    assert demo("down", "cons").endswith("demo down --name cons")
    assert demo("kill", "cons", "core-2").endswith("demo kill --name cons core-2")
    assert demo("down", "demo").endswith("demo down")


def test_a_named_cluster_is_never_taken_for_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "fleet" / "demo").mkdir(parents=True)
    (tmp_path / "fleet" / "demo" / "fleet.toml").write_text(OURS)
    with pytest.raises(UserError, match="demo up --name nosuch"):
        commands._running("nosuch")
    monkeypatch.setattr(commands, "nodes_missing", lambda: ["no root"])
    monkeypatch.setattr(commands, "user_missing", list)
    with pytest.raises(UserError, match="leave --name out"):
        commands.up(argparse.Namespace(name="cons", nodes=1, examples=False))


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("examples", [True, False])
def test_what_is_advised_names_only_machines_and_units_that_are_there(size: int, examples: bool) -> None:
    nodes = [f"core-{number}" for number in range(1, size + 1)]
    told = " ".join(command for command, _ in hints("lab", Path("/lab/fleet.toml"), nodes, examples=examples))
    assert {*re.findall(r"core-\d+", told)} <= {*nodes}
    assert ("mars.service" in told) is examples


def test_an_empty_name_of_a_configuration_is_refused() -> None:
    with pytest.raises(UserError, match="--config names no file"):
        read_settings(parser().parse_args(["--config", ""]), {})
