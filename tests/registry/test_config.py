"""Configuration: file, environment, flags; every mistake is one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.config import Settings, load, operator_files, parse_duration, put
from registry.errors import UserError


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return load(path, environ or {})


def test_no_file_gives_the_defaults() -> None:
    assert load(None, {}) == Settings()


def test_a_file_then_the_environment_then_a_flag(tmp_path: Path) -> None:
    text = '[etcd]\nendpoints = ["http://a:1"]\n[agent]\nttl = "5s"\nmetadata = { region = "eu" }\n'
    settings = read(
        tmp_path, text, {"FLEET_ETCD_SERVERS": "http://b:1, http://c:1", "FLEET_METADATA": "node=n1,x=y"}
    )
    assert settings.etcd.endpoints == ("http://b:1", "http://c:1")
    assert settings.agent.ttl == 5.0
    assert settings.agent.metadata == {"node": "n1", "x": "y"}
    assert put(settings, "ssh", "user", "core", "--ssh-username").ssh.user == "core"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[etcd\n", "not valid TOML.*line 1"),
        ("[etdc]\n", r"unknown table \[etdc\]; did you mean etcd\?"),
        ("etcd = 3\n", r"etcd must be a table: write \[etcd\]"),
        ("[etcd]\nendpoint = 3\n", r"unknown key endpoint in \[etcd\]; did you mean endpoints\?"),
        ('[etcd]\nendpoints = "x"\n', r"\[etcd\] endpoints: expected a list of texts"),
        ("[ssh]\nport = true\n", r"\[ssh\] port: expected a whole number"),
        ('[agent]\nttl = "soon"\n', r'\[agent\] ttl: expected a duration such as "10s"'),
        ('[agent]\nttl = "1s"\n', r"\[agent\] ttl: must be at least 2s"),
        ('[agent]\non_lost_registry = "panic"\n', "expected one of keep, stop"),
        ("[agent]\nmetadata = [1]\n", "expected a table of texts"),
    ],
)
def test_mistakes_are_one_line_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "fleet.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(UserError, match=r"FLEET_AGENT_TTL: \[agent\] ttl"):
        load(None, {"FLEET_AGENT_TTL": "never"})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read configuration"):
        load(tmp_path / "none.toml", {})
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        load(binary, {})


def test_the_first_default_that_exists_is_read(tmp_path: Path) -> None:
    file = tmp_path / "fleet" / "fleet.toml"
    file.parent.mkdir()
    file.write_text("[console]\nread_only = true\n")
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    settings = load(None, environ, operator_files(environ))
    assert settings.console.read_only
    assert settings.source == str(file)


def test_durations() -> None:
    assert [parse_duration(each) for each in ("10s", "500ms", "2m", "1h", 3, "1.5")] == [10, 0.5, 120, 3600, 3, 1.5]
    for wrong in ("", "s", "10 parsecs", True):
        with pytest.raises(ValueError, match="not a duration"):
            parse_duration(wrong)
