"""Configuration: file, environment, flags; every mistake is one line that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.errors import UserError
from registry.program.config import TABLES, Settings, load, operator_files, parse_duration, put
from registry.program.configrules import listen_address


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
    ("text", "found"),
    [
        ("127.0.0.1:9465", ("127.0.0.1", 9465)),
        ("[::1]:9465", ("::1", 9465)),
        (":1", ("", 1)),
        ("core-1:80", ("core-1", 80)),
    ],
)
def test_an_address_to_listen_on_is_a_host_and_a_port(text: str, found: tuple[str, int]) -> None:
    settings = put(Settings(), "metrics", "listen", text, "a test")
    assert listen_address(settings.metrics.listen) == found


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
        (
            "[metrics]\nlisten = '127.0.0.1'\n",
            r"\[metrics\] listen: expected HOST:PORT such as 127.0.0.1:9465, not",
        ),
        ("[metrics]\nlisten = 'a b:9465'\n", r"\[metrics\] listen: expected HOST:PORT"),
        ("[metrics]\nlisten = '::1:9465'\n", r"\[metrics\] listen: write an IPv6 address in brackets"),
        ("[metrics]\nlisten = ':65535'\n", r"\[metrics\] listen: the port must be from 1 to 65534"),
        ("[ssh]\nport = 70000\n", r"\[ssh\] port: must be a whole number from 0 to 65535, not 70000"),
        ("[ssh]\nport = -1\n", r"\[ssh\] port: must be a whole number from 0 to 65535"),
        ("[agent]\nttl = inf\n", r'\[agent\] ttl: expected a duration such as "10s", not inf'),
        ("[agent]\nttl = nan\n", r"\[agent\] ttl: expected a duration"),
        ("[agent]\nttl = -5\n", r"\[agent\] ttl: must be at least 2s"),
        ("[agent]\nttl = true\n", r"\[agent\] ttl: expected a duration"),
        ('[agent]\nttl = "100000h"\n', r"\[agent\] ttl: must be at most 86400s"),
        (f"[agent]\nttl = {'9' * 5000}\n", "a number has too many digits"),
        (f"[agent]\nttl = 0x{'f' * 9000}\n", r"\[agent\] ttl: .*thousands of digits"),
        (f"[ssh]\nport = 0x{'f' * 9000}\n", r"\[ssh\] port: .*thousands of digits"),
        (f"[agent]\nttl = {'[' * 5000}{']' * 5000}\n", "nested too deeply"),
        (f"[ssh]\nport = 1{' ' * 300_000}\n", "larger than 256 KiB"),
        ("[ssh]\nport = 1\nport = 2\n", "not valid TOML: a key or a table stands there a second time"),
        ("[ssh]\n[ssh]\n", "not valid TOML: .* second time; leave one of the two out .at line 2"),
        ('["\\u001b[2J"]\n', "unknown table"),
        ('[ssh]\n"\\u001b[2J" = 1\n', "unknown key"),
        ('[ssh]\nuser = "-oProxyCommand=x"\n', r"\[ssh\] user: .*no name of a user"),
        ('[ssh]\nuser = "a\\u001b[2J"\n', r"\[ssh\] user: .*control character"),
        ("[etcd]\nendpoints = []\n", r"\[etcd\] endpoints: expected a list"),
        ('[etcd]\nendpoints = ["http://a:99999"]\n', r"\[etcd\] endpoints: wrong etcd endpoint .*port"),
        ('[etcd]\nendpoints = ["ftp://a"]\n', r"\[etcd\] endpoints: wrong etcd endpoint .*scheme"),
        ('[etcd]\nprefix = ""\n', r"\[etcd\] prefix: .*write it like /fleet/"),
        ('[etcd]\nprefix = "/"\n', r"\[etcd\] prefix: .*write it like /fleet/"),
        ('[etcd]\nprefix = "/a/../b"\n', r"\[etcd\] prefix: .*write it like /fleet/"),
        ('[etcd]\nprefix = "a//b"\n', r"\[etcd\] prefix: .*write it like /fleet/"),
        ('[agent]\nmachine_id = "xyz"\n', r"\[agent\] machine_id: .*32 hex digits"),
        ('[agent]\npublic_ip = "10.0.0.1; rm -rf /"\n', r"\[agent\] public_ip: .*no address"),
        ('[agent]\nunits_directory = "units"\n', r"\[agent\] units_directory: .*begin it with /"),
        ('[agent]\nmetadata = { "a b" = "c" }\n', r"\[agent\] metadata: metadata key"),
        ("[console]\nread_only = 1\n", r"\[console\] read_only: expected true or false, not 1"),
    ],
)
def test_mistakes_are_one_line_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "fleet.toml") in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(b'\xef\xbb\xbf[etcd]\r\nprefix = "/marked/"\r\n')
    assert load(path, {}).etcd.prefix == "/marked/"


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(UserError, match=r"FLEET_AGENT_TTL: \[agent\] ttl"):
        load(None, {"FLEET_AGENT_TTL": "never"})


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"FLEET_SSH_PORT": "70000"}, r"FLEET_SSH_PORT: \[ssh\] port: must be a whole number from 0 to 65535"),
        ({"FLEET_SSH_PORT": "²"}, r"FLEET_SSH_PORT: \[ssh\] port: expected a whole number"),
        ({"FLEET_SSH_PORT": "9" * 5000}, r"FLEET_SSH_PORT: \[ssh\] port: expected a whole number"),
        ({"FLEET_AGENT_TTL": "inf"}, "FLEET_AGENT_TTL: .*expected a duration"),
        ({"FLEET_AGENT_TTL": "9" * 400}, "FLEET_AGENT_TTL: .*expected a duration"),
        ({"FLEET_ETCD_PREFIX": ""}, "FLEET_ETCD_PREFIX: .*write it like /fleet/"),
        ({"FLEET_ETCD_PREFIX": "/fl\udcffeet/"}, "FLEET_ETCD_PREFIX: .*not UTF-8"),
        ({"FLEET_CONSOLE_READ_ONLY": "maybe"}, "FLEET_CONSOLE_READ_ONLY: .*expected true or false, not 'maybe'"),
        ({"FLEET_METADATA": "region"}, "FLEET_METADATA: .*key=value"),
        ({"FLEET_ETCD_ENDPONTS": "x"}, "FLEET_ETCD_ENDPONTS: no such setting; did you mean FLEET_ETCD_ENDPOINTS"),
        ({"FLEETCTL_ENDPOINTS": "x"}, "FLEETCTL_ENDPOINTS: no such setting; did you mean FLEETCTL_ENDPOINT"),
        ({"FLEET_CONFG": "x"}, "FLEET_CONFG: no such setting; did you mean FLEET_CONFIG"),
    ],
)
def test_mistakes_in_variables_are_one_line_with_their_name(environ: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load(None, environ)
    assert str(caught.value).isprintable()


def test_variables_of_other_programs_are_left_alone() -> None:
    others = {"FLEET_MYSQL_ADDRESS": "x", "FLEET_URL": "x", "FLEET_SERVER_CERT": "x", "FLEETING": "x"}
    assert load(None, others) == Settings()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "nobody writes"),
        (tmp_path, "directory"),
        (Path("/dev/zero"), "larger than"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(UserError, match=said):
            load(path, {})
    assert load(Path("/dev/null"), {}).etcd == Settings().etcd


def test_every_default_keeps_its_own_rule() -> None:
    settings = Settings()
    for table in TABLES:
        for key in getattr(settings, table).__slots__:
            value = getattr(getattr(settings, table), key)
            if value:
                assert getattr(getattr(put(settings, table, key, value, "x"), table), key) == value


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
