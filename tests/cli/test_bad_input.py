"""Whatever is wrong with the input: one line that says what and what to do, a non-zero exit, and no traceback."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from fleettui.cli.arguments import command_parser, parse
from fleettui.cli.commands import COMMANDS
from fleettui.cli.output import print_json
from tests.cli.conftest import PROGRAM, Fleetctl
from tests.cli.fleet import HELLO, Fleet
from tests.etcd_server import free_ports

pytestmark = pytest.mark.etcd


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command ended with this code and said these words, on stderr, without a traceback."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.strip()
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("no command", "fleetctl --help")),
        (("strat", "x"), ("unknown command 'strat'", "did you mean start?")),
        (("start",), ("UNIT|FILE", "fleetctl start --help")),
        (("destroy",), ("UNIT is missing", "name one")),
        (("start", "--repalce", "x"), ("unknown flag --repalce", "did you mean --replace?")),
        (("--endpont", "x", "list-units"), ("unknown flag --endpont", "did you mean --endpoint?")),
        (("list-units", "extra"), ("unexpected argument 'extra'",)),
        (("journal", "x", "--lines", "many"), ("many",)),
        (("journal", "x", "--lines", "-3"), ("-3",)),
        (("events", "-n", "-5"), ("--lines", "whole number from 0", "-5")),
        (("start", "x", "--block-attempts", "few"), ("few",)),
        (("list-units", "--strict-host-key-checking=perhaps"), ("perhaps", "true or false")),
        (("completion", "tcsh"), ("tcsh",)),
        (("help", "strat"), ("did you mean start?",)),
        (("ssh",), ("no machine is given",)),
        (("ssh", "--machine=a", "--unit=b"), ("exclude each other",)),
        (("apply", "", "--prune", "--yes"), ("'' is no folder",)),
        (("restart", "web@*", "--canary", "1"), ("--canary is about a rollout", "add --at-a-time N")),
        (("start", "web@1", "--name", "careful"), ("--name is about a rollout",)),
        (("start", "web@1", "--replace", "--on-failure", "rollback"), ("--on-failure is about a rollout",)),
        (("drain", "core-1", "--healthy-for", "30s"), ("--healthy-for is about a rollout",)),
        (("apply", ".", "--max-failures", "2"), ("--max-failures is about a rollout",)),
    ],
)
def test_a_wrong_command_line_exits_2_and_suggests(
    fleetctl: Fleetctl, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(fleetctl(*arguments), 2, *words)


@pytest.mark.parametrize(
    ("argv", "truth"),
    [
        (("version", "--strict-host-key-checking"), "true"),
        (("version", "--strict-host-key-checking", "false"), "false"),
        (("--strict-host-key-checking", "true", "version"), "true"),
        (("--strict-host-key-checking", "version"), "true"),
        (("cat", "hello", "--strict-host-key-checking=no"), "no"),
    ],
)
def test_the_flag_that_may_stand_alone_takes_a_word_too(argv: tuple[str, ...], truth: str) -> None:
    assert parse(argv)[1].strict_host_key_checking == truth


def test_what_is_not_there_to_be_scaled_unset_or_sealed_is_told(fleetctl: Fleetctl) -> None:
    for count in ("0", "3"):
        refused(fleetctl("scale", "wbe@", count), 1, "has no template wbe@.service")
    refused(fleetctl("config", "unset", "nope", "A"), 1, "there is no config nope; see: fleetctl config list")
    refused(fleetctl("secret", "set", "db"), 1, "etcd.sealing_key_file")


def test_a_name_that_cannot_be_is_refused_with_the_rule(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("web.service")
    rule = "use letters, digits and . _ -"
    for words in (
        ("rollout", "web", "--name", "a b"),
        ("restart", "web", "--at-a-time", "1", "--name", "a/b"),
        ("rollout", "web", "--name=-x"),
        ("config", "set", "a b", "A=1"),
        ("config", "show", "a/b"),
    ):
        refused(fleetctl(*words), 1, rule)


def test_a_glob_means_what_runs_and_not_the_template_beside_it(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleetctl.write("web@.service", HELLO)
    assert fleetctl("submit", "web@.service", "web@1.service", "web@2.service").returncode == 0
    done = fleetctl("start", "--no-block", "web@*")
    assert (done.returncode, done.stderr) == (0, "")
    refused(fleetctl("start", "--no-block", "web@.service"), 1, "is a template")
    for verb in ("status", "journal", "why"):
        told = fleetctl(verb, "web@*")
        assert "web@1" in told.stdout + told.stderr, verb
        assert "web@." not in told.stdout + told.stderr, verb
        told = fleetctl(verb, "web@.service")
        assert "web@." in told.stdout + told.stderr, verb
    assert fleetctl("cat", "web@*").stdout == 3 * HELLO
    assert fleetctl("destroy", "web@1.service", "web@2.service").returncode == 0
    refused(fleetctl("start", "--no-block", "web@*"), 1, "is a template")
    assert fleetctl("destroy", "web@*").stdout == "Destroyed web@.service\n"
    assert fleet.unit("web@.service") is None


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_is_nobody_who_reads(fleetctl: Fleetctl, fleet: Fleet, closed: str) -> None:
    fleetctl.write("one.service", HELLO)
    for number, words in enumerate(("submit one.service", "list-unit-files", "destroy one")):
        line = f"exec {PROGRAM} {words} {closed}"
        done = subprocess.run(
            ["sh", "-c", line], env=fleetctl.environment, cwd=fleetctl.home, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), words
        assert (fleet.unit("one.service") is not None) == (number < 2)


@pytest.mark.parametrize("name", [command.name for command in COMMANDS if not command.name.startswith("_")])
def test_help_is_the_same_as_a_flag_and_as_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse([name, "--help"])
    assert not left.value.code
    asked = capsys.readouterr()
    assert not asked.err
    assert asked.out == command_parser(next(each for each in COMMANDS if each.name == name)).format_help()


def test_a_configuration_without_a_name_is_not_the_usual_one(fleetctl: Fleetctl) -> None:
    refused(fleetctl("--config", "", "list-units"), 1, "--config names no file")


def test_an_address_in_no_network_of_this_host_is_told_in_words(fleetctl: Fleetctl) -> None:
    refused(fleetctl("--endpoint", "http://[::1%lo]:2", "list-units"), 1, "[::1%lo]:2", "not known")


def test_json_on_a_terminal_holds_nothing_that_it_obeys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    value = {"host": "caf\u00e9 \x1b[2J \x9b2J \u202e \x7f"}
    print_json(value)
    shown = capsys.readouterr().out
    assert "caf\u00e9" in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert json.loads(shown) == value


def test_what_follows_two_hyphens_is_a_unit_whatever_it_begins_with(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("-x.service")
    done = fleetctl("cat", "--", "-x.service")
    assert (done.returncode, done.stdout) == (0, HELLO), done.stderr
    refused(fleetctl("cat", "--", "--prefix=x.service"), 1, "--prefix=x.service")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.service", b"", ("empty.service:1: the file is empty", "[Unit]")),
        ("binary.service", b"\x7fELF\0\0\xff", ("binary", "UTF-8")),
        ("latin.service", b"[Unit]\nDescription=caf\xe9\n", ("latin.service:2", "UTF-8")),
        ("huge.service", b"[Service]\n" + b"#" * 10_000_000, ("larger than 1048576 bytes",)),
        ("section.service", b"[Servce]\nExecStart=/bin/true\n", ("section.service:1", "did you mean [Service]?")),
        ("headless.service", b"ExecStart=/bin/true\n", ("headless.service:1", "[Unit]")),
        ("option.service", HELLO.encode() + b"[X-Fleet]\nMachineOff=a\n", (":5", "did you mean MachineOf?")),
        ("pair.service", HELLO.encode() + b"[X-Fleet]\nMachineMetadata=region\n", ("not key=value",)),
        ("noexec.service", b"[Service]\nRestart=always\n", ("ExecStart",)),
        ("bad name.service", HELLO.encode(), ("contains ' '",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # pytest hands an id on to processes, which bound it
)
def test_a_file_that_would_not_run_is_refused_with_line_and_remedy(
    fleetctl: Fleetctl, fleet: Fleet, name: str, content: bytes, words: tuple[str, ...]
) -> None:
    (fleetctl.home / name).write_bytes(content)
    good = fleetctl.write("good.service", HELLO)
    done = fleetctl("submit", f"./{name}", str(good))
    refused(done, 1, *words)
    assert done.stdout == "Unit good.service inactive\n"  # one bad file harms no other
    assert fleet.unit(name) is None


@pytest.mark.parametrize("name", ["a" * 260, "x@y.mount", "a\x01b", "ü.service", ".service", "..", "/"])
@pytest.mark.usefixtures("fleet")
def test_a_name_that_is_none_is_refused(fleetctl: Fleetctl, name: str) -> None:
    for verb in ("start", "destroy", "cat", "why"):
        refused(fleetctl(verb, "--", name), 1)


def test_a_number_beyond_all_bounds_is_no_error_of_ours(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("web.service")
    refused(fleetctl("journal", "web", "-n", "9" * 20), 2, "--lines: expected", "at most")
    done = fleetctl("start", "web", f"--block-attempts={'9' * 400}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("fleet")
def test_a_directory_and_a_device_are_no_unit_files(fleetctl: Fleetctl) -> None:
    (fleetctl.home / "dir.service").mkdir()
    (fleetctl.home / "null.service").symlink_to("/dev/zero")
    refused(fleetctl("start", "dir", "null"), 1, "dir.service is not a regular file", "null.service is not a reg")
    refused(fleetctl("verify", "dir.service", "nope.service"), 1, "not a regular file", "does not exist")


def test_an_unknown_unit_is_an_error_and_the_others_are_done(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    done = fleetctl("destroy", "missing", "hello")
    refused(done, 1, "missing.service is not in the registry", "list-unit-files")
    assert done.stdout == "Destroyed hello.service\n"
    done = fleetctl("start", "--no-block", "missing.service")
    refused(done, 1)
    assert done.stderr == (
        "Error creating units: unable to find Unit(missing.service) in Registry or on filesystem\n"
    )


@pytest.mark.usefixtures("fleet")
def test_a_glob_that_matches_nothing_says_so(fleetctl: Fleetctl) -> None:
    refused(fleetctl("stop", "web@*"), 1, "no unit in the registry matches 'web@*'")
    refused(fleetctl("stop", "web[1"), 1, "pattern 'web[1'", "write [abc]")


@pytest.mark.usefixtures("fleet")
def test_a_template_runs_nowhere(fleetctl: Fleetctl) -> None:
    fleetctl.write("web@.service", HELLO)
    assert fleetctl("submit", "web@.service").stdout == "Unit web@.service inactive\n"
    refused(fleetctl("start", "web@.service"), 1, "is a template", "web@1.service")


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("ftp://127.0.0.1", ("wrong etcd endpoint", "http://10.0.0.1:2379")),
        ("http://127.0.0.1:99999", ("wrong etcd endpoint",)),
        ("http://", ("wrong etcd endpoint",)),
        ("", ("endpoint",)),
    ],
)
def test_a_wrong_endpoint_is_explained(fleetctl: Fleetctl, endpoint: str, words: tuple[str, ...]) -> None:
    refused(fleetctl("--endpoint", endpoint, "list-units"), 1, *words)


def test_nobody_at_the_endpoint_is_told_with_what_to_check(fleetctl: Fleetctl) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    refused(fleetctl("list-units", "--endpoint", endpoint), 1, "cannot reach the registry", endpoint, "--endpoint")
    refused(fleetctl("start", "x", FLEETCTL_ENDPOINT=endpoint), 1, "cannot reach the registry")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[etcd\n", ("not valid TOML", "line 1")),
        ("[etcd]\nendpoint = ['x']\n", ("unknown key endpoint", "did you mean endpoints?")),
        ("[etc]\n", ("unknown table [etc]", "did you mean etcd?")),
        ("[etcd]\nendpoints = 7\n", ("[etcd] endpoints", "expected a list")),
        ("[ssh]\nport = 'ssh'\n", ("[ssh] port", "whole number")),
        ("etcd = 3\n", ("must be a table",)),
    ],
)
def test_a_wrong_configuration_names_file_key_and_remedy(
    fleetctl: Fleetctl, text: str, words: tuple[str, ...]
) -> None:
    path = fleetctl.write("fleet.toml", text)
    refused(fleetctl("--config", str(path), "list-units"), 1, str(path), *words)
    refused(fleetctl("list-units", FLEET_CONFIG=str(path)), 1, str(path), *words)


def test_a_configuration_that_is_not_there_or_unreadable(fleetctl: Fleetctl) -> None:
    refused(fleetctl("--config", "/nowhere/fleet.toml", "list-units"), 1, "/nowhere/fleet.toml")
    refused(fleetctl("--config", str(fleetctl.home), "list-units"), 1, str(fleetctl.home))


@pytest.mark.parametrize(
    "flags", [("--request-timeout", "soon"), ("--ssh-timeout", "1y"), ("--request-timeout", "0")]
)
def test_a_duration_that_is_none_is_refused(fleetctl: Fleetctl, flags: tuple[str, str]) -> None:
    refused(fleetctl(*flags, "list-units"), 1, flags[0], flags[1])


def test_a_missing_certificate_file_is_named(fleetctl: Fleetctl) -> None:
    refused(
        fleetctl("--ca-file", "/nowhere/ca.pem", "--endpoint", "https://127.0.0.1:1", "list-units"), 1, "ca.pem"
    )


def test_a_newer_registry_is_left_alone(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.add("hello.service")
    fleet.put(fleet.keys.cluster, b'{"id":"c1","schema":99}')
    refused(fleetctl("destroy", "hello.service"), 1, "newer schema", "upgrade")
    assert fleet.unit("hello.service") is not None


def test_a_reader_that_goes_away_is_no_error(fleetctl: Fleetctl, fleet: Fleet) -> None:
    for number in range(50):
        fleet.add(f"unit-{number}.service")
    command = "fleetctl list-unit-files --json | head -1; exit ${PIPESTATUS[0]}"
    bin_directory = str(Path(subprocess.sys.executable).parent)  # type: ignore[attr-defined]
    done = subprocess.run(
        ["bash", "-c", command],
        env=fleetctl.environment | {"PATH": f"{bin_directory}:{fleetctl.environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in (0, 141)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            "destroy web@1 web@2",
            1,
            "Error: the output could not be written: {}; all else that was asked for was done\n",
        ),
        ("list-unit-files", 1, "Error: the output could not be written: {}\n"),
        ("list-units --help", 1, "Error: the output could not be written: {}\n"),
    ],
)
def test_output_that_is_lost_stops_nothing_and_is_told_of(
    fleetctl: Fleetctl, fleet: Fleet, words: str, code: int, told: str
) -> None:
    for name in ("web@1.service", "web@2.service"):
        fleet.add(name)
    full = shell(fleetctl, f"{PROGRAM} {words} >/dev/full")
    assert (full.returncode, full.stderr) == (code, told.format("No space left on device"))
    left = [fleet.unit(name) for name in ("web@1.service", "web@2.service")]
    assert all(left) if words != "destroy web@1 web@2" else not any(left)
    if words == "list-unit-files":
        assert shell(fleetctl, f"{PROGRAM} {words} 2>/dev/full").returncode == 0
        assert shell(fleetctl, f"{PROGRAM} nonsense 2>/dev/full").returncode == 2


def test_a_verb_goes_on_when_its_reader_goes_away(fleetctl: Fleetctl, fleet: Fleet) -> None:
    for number in range(20):
        fleet.add(f"web@{number}.service")
    done = shell(fleetctl, f"{PROGRAM} destroy 'web@*' | sleep 0; exit ${{PIPESTATUS[0]}}")
    assert not any(fleet.unit(f"web@{number}.service") for number in range(20))
    assert (done.returncode, done.stderr) == (
        141, "Error: the output could not be written: Broken pipe; all else that was asked for was done\n"
    )  # fmt: skip


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_fleettui_lives_without_its_streams(fleetctl: Fleetctl, closed: str) -> None:
    program = PROGRAM.with_name("fleettui")
    done = shell(fleetctl, f"{program} --version {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("", "token list"):
        done = shell(fleetctl, f"{program} {words} {closed}")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


def test_fleettui_says_that_its_output_is_lost(fleetctl: Fleetctl) -> None:
    done = shell(fleetctl, f"{PROGRAM.with_name('fleettui')} --version >/dev/full")
    assert (done.returncode, done.stderr) == (
        1, "error: the output could not be written: No space left on device; all else that was asked for was done\n"
    )  # fmt: skip


def shell(fleetctl: Fleetctl, line: str) -> subprocess.CompletedProcess[str]:
    """What comes of a line of bash."""
    return subprocess.run(
        ["bash", "-c", line],
        env=fleetctl.environment,
        cwd=fleetctl.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_debug_tells_more(fleetctl: Fleetctl) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert "Traceback" in fleetctl("--debug", "list-units", "--endpoint", endpoint).stderr
