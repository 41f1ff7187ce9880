"""Hosts that are not quite bare: with sudo and apt, a kernel of another name, metrics that somebody scrapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleettui.install import archive
from tests.cluster.nodes import eventually
from tests.cluster.test_prometheus import CONTRIB, Prometheus
from tests.install.laptop import Laptop, laptop_with
from tests.install.roots import ROOTS, BareNode, offer
from tests.install.test_install_parts import wheel

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

USERS = {"free": "free ALL=(ALL) NOPASSWD: ALL", "asked": "asked ALL=(ALL) ALL", "none": ""}
DIRECTORY = "/srv/fleet/units"


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    """One host, with a user for each way of sudo that there is, all of whom may log in."""
    with laptop_with(["lived-in"]) as laptop:
        (node,) = laptop.hosts.nodes
        for user, rule in USERS.items():
            script = (
                f"useradd -m -p '*' {user}; cp -r /root/.ssh /home/{user}/; chown -R {user} /home/{user}/.ssh"
                f"; printf '%s\\n' '{rule}' >/etc/sudoers.d/{user}; chmod 440 /etc/sudoers.d/{user}"
            )
            assert node.exec(["sh", "-ec", script]).returncode == 0
        yield laptop


def listing(node: BareNode) -> dict[str, str]:
    """What is on the disk, but for what logins and apt itself write."""
    own = re.compile(r"(var/(log|lib/(apt|sudo|systemd)|cache|tmp)|etc/apt|srv|run|home)\b")
    return {path: told for path, told in node.root.listing().items() if not own.match(path)}


@pytest.fixture(scope="module")
def before(laptop: Laptop) -> dict[str, str]:
    return listing(laptop.hosts.nodes[0])


def join(laptop: Laptop, user: str, *more: str) -> tuple[int, str]:
    node = laptop.hosts.nodes[0]
    done = laptop("fleettui", "join", "--accept-host-keys", *more, f"{user}@{node.spec.address}")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("user", ["asked", "none"])
def test_sudo_that_asks_for_a_password_is_refused_with_what_to_do(
    laptop: Laptop, before: dict[str, str], user: str
) -> None:
    code, said = join(laptop, user)
    assert code == 1
    assert "its commands do not run as root: sudo: a password is required" in said
    assert f"{user} ALL=(ALL) NOPASSWD: ALL" in said
    assert listing(laptop.hosts.nodes[0]) == before


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        ("aarch64", "its kernel is aarch64, and its Python is built for x86_64-linux-gnu"),
        ("riscv64", "its architecture is riscv64; use one of x86_64, aarch64"),
    ],
)
def test_a_foreign_architecture_is_refused(laptop: Laptop, before: dict[str, str], machine: str, why: str) -> None:
    (node,) = laptop.hosts.nodes
    uname = node.root.directory / "usr/local/bin/uname"
    uname.write_text(f'#!/bin/sh\n[ "$1" = -m ] && echo {machine} || exec /usr/bin/uname "$@"\n')
    uname.chmod(0o755)
    code, said = join(laptop, "free", "--etcd", str(laptop.etcd))
    uname.unlink()
    assert code == 1
    assert why in said
    assert listing(node) == before


@pytest.mark.parametrize("architecture", archive.ARCHITECTURES)
def test_the_archive_is_compiled_for_the_architecture_of_the_host(architecture: str) -> None:
    """Of the real libraries, for each architecture."""
    made = archive.archive(archive.running(), "3.13", architecture, ROOTS.parent / "cache/fleet")
    assert made.name.endswith(f"-{architecture}.tar.gz")


def test_etcd_is_fetched_by_the_hosts_apt_and_is_what_was_told(laptop: Laptop, before: dict[str, str]) -> None:
    (node,) = laptop.hosts.nodes
    code, said = join(laptop, "free")
    assert code == 1
    assert "(its apt offers none; apt-get update there?)" in said
    offer(node, laptop.etcd, spoilt=True)
    code, said = join(laptop, "free")
    assert code == 1
    assert "Hash Sum mismatch" in said
    assert "or give etcd with --etcd FILE" in said
    offer(node, laptop.etcd)
    code, said = join(laptop, "free")
    assert code == 0, said
    assert "fetch its apt's etcd-server 3.5.16-4, and put etcd 3.5.16 into /opt/fleet/etcd" in said
    ours = re.compile(r"(etc|opt|var/lib)(/systemd/system)?(/private)?(/fleet|/multi-user|$|/fleet-)")
    new = {path for path, told in listing(node).items() if before.get(path) != told}
    assert not [path for path in new if not ours.match(path)], "apt has installed nothing"


def test_a_real_prometheus_scrapes_a_joined_fleet(laptop: Laptop, tmp_path: Path) -> None:
    (node,) = laptop.hosts.nodes
    assert node.exec(["grep", "-h", "listen", "/etc/fleet/fleet.toml"]).stdout == 'listen = "127.0.0.1:9465"\n'
    code, said = join(laptop, "free", "--metrics", "network")
    assert code == 0, said
    targets = dict(
        re.findall(
            r'job_name: (\S+)\n.*\n.*targets: \["10\.0\.0\.1:(\d+)"',
            (CONTRIB / "prometheus/scrape.yml").read_text(),
        )
    )
    assert set(targets) == {"fleet-agent", "fleet-scheduler"}
    where = {job: [f"{node.spec.address}:{port}"] for job, port in targets.items()}
    prometheus = Prometheus(tmp_path, where)
    try:
        eventually("it is up", prometheus.up, timeout_s=60)
        eventually("both are scraped", lambda: prometheus.number("sum(up)") == 2, timeout_s=60)
        eventually("of a fleet", lambda: prometheus.number('fleet_machines{state="ready"}') == 1, timeout_s=60)
    finally:
        prometheus.end()
    code, said = join(laptop, "free", "--metrics", "off")
    assert code == 0, said
    assert join(laptop, "free")[1] == "Nothing to do: everything is as it should be.\n"


def test_unit_files_may_lie_outside_of_run(laptop: Laptop) -> None:
    (node,) = laptop.hosts.nodes
    config = node.root.directory / "etc/fleet/fleet.toml"
    config.write_text(config.read_text().replace("[agent]\n", f'[agent]\nunits_directory = "{DIRECTORY}"\n'))
    node.exec(["systemctl", "restart", "--no-block", "fleet-agentd"])
    status = ["systemctl", "show", "--property=StatusText", "fleet-agentd"]
    eventually("it says why not", lambda: "cannot use" in node.exec(status).stdout)
    text = node.exec(status).stdout
    assert "Read-only file system; its service may not write there: run fleettui join for this host again" in text
    code, said = join(laptop, "free")
    assert code == 0, said
    (laptop.home / "there.service").write_text("[Service]\nExecStart=/bin/sleep infinity\n")
    done = laptop("fleetctl", "start", str(laptop.home / "there.service"))
    assert done.returncode == 0, done.stderr
    assert (node.root.directory / DIRECTORY.lstrip("/") / "there.service").exists()
    assert join(laptop, "free")[1] == "Nothing to do: everything is as it should be.\n"


def test_a_user_with_sudo_does_all_that_root_does(laptop: Laptop, before: dict[str, str], tmp_path: Path) -> None:
    (node,) = laptop.hosts.nodes
    ran = node.exec(["systemctl", "show", "--property=InvocationID", "there.service"]).stdout
    done = laptop("fleetctl", "upgrade", "--to", str(wheel(tmp_path / "fleettui-9.1-py3-none-any.whl")))
    assert done.returncode == 0, done.stderr
    assert node.exec(["systemctl", "show", "--property=InvocationID", "there.service"]).stdout == ran
    assert "Started there.service" in laptop("fleetctl", "journal", "--sudo", "there.service").stdout
    assert "core-1: reached, agent active" in laptop("fleetctl", "doctor", "--ssh").stdout
    assert laptop("fleetctl", "ssh", node.name, "id", "-un").stdout == "free\n"
    done = laptop("fleettui", "leave", node.name, "--purge", "--last", "--yes")
    assert done.returncode == 0, done.stderr
    assert listing(node) == before
    assert "fleet" not in node.exec(["ls", "/srv"]).stdout
