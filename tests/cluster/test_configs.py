"""Configs and secrets on real machines: what a unit sees of them, when, and who else does."""

from __future__ import annotations

import threading
from base64 import b64encode
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import Fleet
from tests.cluster.nodes import eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

# It says what it has when it starts, and again whenever it is asked for it.
UNIT = """\
[X-Fleet]
Config=web
[Service]
User=nobody
ExecStart=/bin/sh -c 'cd $STATE_DIRECTORY; while :; do \\
  { printenv A; cat /run/fleet/config/web/sub/file; } > %i.new; mv %i.new %i; sleep 0.1; done'
StateDirectory=cfg
Restart=always
RestartSec=100ms
"""
ODD = 'x "y" $z `w` \\n\n\ttabs'


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Fleet:
    return Fleet(cluster, tmp_path)


def set_config(fleet: Fleet, value: str, content: bytes) -> None:
    folder = fleet.directory / "conf" / "sub"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_bytes(content)
    fleet.ctl("config", "set", "web", f"A={value}", "--file", str(folder.parent))


def seen(fleet: Fleet, unit: str) -> str:
    """What a unit has written where it runs."""
    node = fleet.homes(unit).get(unit, "")
    instance = unit.partition("@")[2].removesuffix(".service")
    return fleet.shell(node, f"cat /var/lib/cfg/{instance}") if node else ""


def sees(fleet: Fleet, unit: str, text: str) -> bool:
    return seen(fleet, unit) == text


def empty(fleet: Fleet, node: str) -> bool:
    """Whether a node has no version of anything."""
    return not fleet.shell(node, "find /run/fleet/pins -type f 2>/dev/null || :")


def test_a_config_is_there_before_the_start_and_changes_with_a_rollout_alone(fleet: Fleet) -> None:
    fleet.write("web@.service", UNIT)
    units = ("web@1.service", "web@2.service", "web@3.service")
    assert "no config web" in fleet.fails("start", *(str(fleet.directory / each) for each in units))
    set_config(fleet, ODD, b"one")
    fleet.ctl("start", *(str(fleet.directory / each) for each in units))
    for unit in units:
        eventually("the unit sees it", partial(sees, fleet, unit, f"{ODD}\none"))
    before = {unit: truth.invocation for (_, unit), truth in fleet.running("web@*").items()}
    set_config(fleet, "two", b"two")
    for unit in units:
        assert "config web" in fleet.ctl("why", unit).stdout

    # Nothing was restarted, and what systemd or an operator restarts has the version that it had.
    assert {unit: truth.invocation for (_, unit), truth in fleet.running("web@*").items()} == before
    first, node = units[0], fleet.homes(units[0])[units[0]]
    fleet.shell(node, f"systemctl kill --signal=KILL {first}; : > /var/lib/cfg/1")
    fleet.ctl("restart", units[1])
    for unit in units[:2]:
        eventually("it has what it had", partial(sees, fleet, unit, f"{ODD}\none"))

    # Out of turn on one machine: the two versions stand side by side.
    fleet.ctl("rollout", first, "--healthy-for", "1s", "--name", "r1")
    eventually("the new version", partial(sees, fleet, first, "two\ntwo"))
    assert seen(fleet, units[2]) == f"{ODD}\none"
    fleet.ctl("rollout", "web@*", "--healthy-for", "1s", "--name", "r2")
    assert all(eventually("the new version", partial(sees, fleet, unit, "two\ntwo")) for unit in units)

    # A boot empties /run; the machine that comes back has everything before it starts them.
    node = fleet.homes(first)[first]
    fleet.cluster.node(node).reboot()
    fleet.settled("web@*", 3, within_s=60)
    for unit in units:
        eventually("the same after a boot", partial(sees, fleet, unit, "two\ntwo"), timeout_s=60)

    # The way back is a rollout's, and its versions come with its file.
    assert "went back" in fleet.ctl("rollout", "undo", "r2").stdout
    eventually("the version before", partial(sees, fleet, units[2], f"{ODD}\none"))
    fleet.ctl("destroy", "web@*")
    for each in fleet.cluster.nodes:
        eventually(
            "nothing is left",
            partial(empty, fleet, each),
        )


KEEPER = """\
[X-Fleet]
Secret=db:password
[Service]
User=nobody
ExecStart=/bin/sh -c 'sha256sum < $CREDENTIALS_DIRECTORY/password > $STATE_DIRECTORY/%n; exec sleep infinity'
StateDirectory=keep
"""


def test_a_secret_is_with_its_unit_and_nowhere_else(fleet: Fleet) -> None:
    cluster = fleet.cluster
    said = [fleet.fails("start", fleet.write("keep.service", KEEPER))]
    secrets, lines = ("first-" + token_hex(24), "other-" + token_hex(24)), set[bytes]()
    for number, secret in enumerate(secrets, 1):
        for command in (command_lines(cluster, secret), command_lines(cluster, secret[::-1])):
            lines |= command
        if number == 1:
            said.append(str(fleet.ctl("start", str(fleet.directory / "keep.service"))))
            invocation = fleet.running("keep.service").popitem()[1].invocation
    assert "no secret db" in said[0]
    assert fleet.running("keep.service").popitem()[1].invocation == invocation
    assert "secret db has a newer version" in fleet.ctl("why", "keep.service").stdout
    assert kept(fleet) == sha256(secrets[0][::-1].encode()).hexdigest()
    fleet.ctl("rollout", "keep.service", "--healthy-for", "1s")
    assert kept(fleet) == sha256(secrets[1][::-1].encode()).hexdigest()

    backup = fleet.directory / "fleet.backup"
    fleet.ctl("backup", str(backup))
    places = {
        "backup": backup.read_bytes(),
        "registry": repr(cluster.etcd.dump("/")).encode(),
        "argv": b"\n".join(lines),
    }
    places |= {
        str(path): path.read_bytes() for path in (cluster.layout.state / "etcd").rglob("*") if path.is_file()
    }
    places |= {f"journal of {name}": node.journal().encode() for name, node in cluster.nodes.items()}
    places |= {name: text.encode() for name, text in cluster.etcd.logs.items()}
    assert len(places) > 6
    words = [each for secret in secrets for each in (secret, secret[::-1])]
    for word in words:
        for code in (word.encode(), b64encode(word.encode())[:-4], word.encode().hex().encode()):
            assert [name for name, data in places.items() if code in data] == []
    options = " ".join(f"-e {word}" for word in words)
    places_there = "/run /run/credentials/* /etc /var /tmp /root /dev/shm"
    holding = f"find {places_there} -xdev -type f -size -64M -exec grep -lF {options} {{}} + 2>/dev/null"
    search = ["sh", "-c", f"{holding} | xargs -r stat -c '%a %U %G %n'"]
    found = {name: node.exec(search).stdout for name, node in cluster.nodes.items()}
    home = fleet.homes("keep.service")["keep.service"]
    there = [line.split(" ", 3) for line in found.pop(home).splitlines()]
    for mode, owner, group, name in there:  # systemd 257 lets the user in by an ACL, whose mask is the group's bits
        assert not int(mode, 8) & (0o007 if group == "root" else 0o077), name
        assert owner in (("root", "nobody") if name.startswith("/run/credentials/") else ("root",)), name
    assert any(name.startswith("/run/fleet/pins/secret/db/") for _, _, _, name in there)
    assert set(found.values()) == {""}

    # A machine that has no key says so, and runs on with what it has.
    node = cluster.node(home)
    node.exec(["mv", "/etc/fleet/secrets.key", "/etc/fleet/away"])
    command_lines(cluster, "third")
    fleet.ctl("rollout", "keep.service", "--healthy-for", "1s", "--no-block", "--name", "r3")
    eventually("the reason", lambda: "secrets.key: No such file" in fleet.ctl("why", "keep.service").stdout)
    assert kept(fleet) == sha256(secrets[1][::-1].encode()).hexdigest()
    assert fleet.running("keep.service")
    node.exec(["mv", "/etc/fleet/away", "/etc/fleet/secrets.key"])
    node.exec(["systemctl", "restart", "fleet-agentd.service"])
    eventually("the third", lambda: kept(fleet) == sha256(b"third").hexdigest(), timeout_s=60)
    cluster.fleetctl("rollout", "abort", "r3")  # it was paused: the unit had failed in its turn
    fleet.ctl("destroy", "keep.service")
    fleet.ctl("secret", "destroy", "db")
    assert empty(fleet, home)
    assert not registry(cluster, "contents/")


def command_lines(cluster: Cluster, secret: str) -> set[bytes]:
    """Set the secret db, and return every command line and environment that there was meanwhile on this host."""
    seen, over = set[bytes](), threading.Event()

    def watch() -> None:
        while not over.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                for each in (path, path.with_name("environ")):
                    with suppress(OSError):
                        seen.add(each.read_bytes())

    watcher = threading.Thread(target=watch, name="command lines")
    watcher.start()
    try:
        done = cluster.fleetctl("secret", "set", "db", text=secret)
    finally:
        over.set()
        watcher.join()
    assert done.returncode == 0, done.stderr
    assert any(b"secret\0set\0db" in line for line in seen)
    return seen | {done.stdout.encode(), done.stderr.encode()}


def kept(fleet: Fleet) -> str:
    """The hash of what the unit was given, as it has written it itself."""
    home = fleet.homes("keep.service").get("keep.service", "")
    return fleet.shell(home, "cat /var/lib/keep/keep.service 2>/dev/null || :").partition(" ")[0] if home else ""
