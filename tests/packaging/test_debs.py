"""The .deb packages on hosts that have nothing of ours: installed, upgraded, removed, purged; nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fleettui.demo.etcdserver import find_binary
from fleettui.demo.node import Node
from fleettui.demo.requirements import nodes_missing
from tests.cluster.conftest import free_name
from tests.cluster.nodes import eventually
from tests.documents import block
from tests.install.roots import BareNode, BareRoot, bare_hosts, debian
from tests.packaging.conftest import Built

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

DAEMONS = ("fleet-agentd.service", "fleet-scheduler.service")
PROGRAMS = ("fleet-agentd", "fleet-scheduler", "fleetctl", "fleettui")
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n"
# What the system itself writes on the way: dpkg's own books, logs, and the directory of what DynamicUser= keeps.
SYSTEMS = re.compile(r"var/lib/dpkg(/.*)?|var/log(/.*)?|var/lib/systemd(/.*)?|var/lib/private|var/cache/private")
# The console in a browser, as packages bring both: its screen comes over a WebSocket.
BROWSER = """
import asyncio, os, subprocess, sys
sys.path.insert(0, "/usr/lib/fleet")
import aiohttp
async def look(url, token):
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(f"{url}/?token={token}") as page:
            assert page.status == 200, await page.text()
        async with session.ws_connect(f"{url}/ws?width=100&height=30", origin=url) as socket:
            drawn = b""
            while b"hello.service" not in drawn:
                said = await socket.receive(timeout=60)
                assert said.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), (said, drawn[-2000:])
                drawn += said.data if isinstance(said.data, bytes) else said.data.encode()
command = ["fleettui", "serve", "--port", "8123", "--fresh"]
env = os.environ | {"HOME": "/root/work"}
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as served:
    url, _, token = served.stdout.readline().split()[-1].partition("/?token=")
    try:
        asyncio.run(look(url, token))
    finally:
        served.terminate()
"""
DYNAMIC = range(61184, 65520)  # users that DynamicUser= makes
WORST = 49  # of systemd-analyze security, in tenths


def test_packages_come_work_and_go(built: Built, tmp_path: Path) -> None:
    if nodes_missing():
        pytest.skip("cannot boot nodes")
    newer = [repacked(deb, tmp_path / "newer") for deb in built.debs]
    roots = [debian("bookworm"), debian("trixie", fetch="etcd-server")]
    with (
        free_name() as name,
        bare_hosts(name, roots) as hosts,
        etcd(hosts.layout.host_address, tmp_path) as endpoint,
        ThreadPoolExecutor() as pool,
    ):
        list(pool.map(lambda node: life(node, built.debs, newer, endpoint), hosts.nodes))


def life(node: BareNode, debs: list[Path], newer: list[Path], endpoint: str) -> None:
    """From a bare host to a bare host."""
    root = node.root
    assert isinstance(root, BareRoot)
    before = root.listing()
    work = node.root.directory / "root/work"
    for version, files in (("now", debs), ("newer", newer)):
        (work / version).mkdir(parents=True)
        for deb in files:
            (work / version / deb.name).write_bytes(deb.read_bytes())
    (work / "hello.service").write_text(UNIT)

    installed(node, "now")
    for daemon in DAEMONS:
        assert said(node, "systemctl", "is-enabled", daemon) == "enabled\n"
        assert node.exec(["systemctl", "is-active", daemon]).stdout == "inactive\n", "there is no configuration yet"
    for program in PROGRAMS:
        assert "0.1.0" in said(node, program, "--version")

    config = node.root.directory / "etc/fleet/fleet.toml"
    config.write_text(f'[etcd]\nendpoints = ["{endpoint}"]\nprefix = "/{node.name}/"\n')
    documented(node, "docs/install.md", "start")
    eventually("the machine in the fleet", lambda: "registered" in status(node), timeout_s=30)
    said(node, "fleetctl", "start", "--timeout", "90s", "/root/work/hello.service")
    said(node, "python3", "-I", "-c", BROWSER, timeout_s=90)
    console(node)
    run_of = said(node, "systemctl", "show", "--value", "--property=InvocationID", "hello.service")
    pids = main_pids(node)
    assert int(said(node, "stat", "-c", "%u", f"/proc/{pids[1]}")) in DYNAMIC
    for daemon in DAEMONS:
        said(node, "systemd-analyze", "security", "--no-pager", f"--threshold={WORST}", daemon)

    installed(node, "newer")
    assert all(old != new for old, new in zip(pids, main_pids(node), strict=True)), "the daemons are the new ones"
    eventually("the agent again", lambda: "registered" in status(node), timeout_s=60)
    assert said(node, "systemctl", "show", "--value", "--property=InvocationID", "hello.service") == run_of
    installed(node, "newer")  # once more

    documented(node, "docs/uninstall.md", "remove")
    assert node.exec(["systemctl", "is-active", "hello.service"]).stdout == "inactive\n", "handed back"
    assert config.exists()
    assert not any((node.root.directory / "usr/bin" / each).exists() for each in PROGRAMS)
    documented(node, "docs/uninstall.md", "purge")
    said(node, "rm", "-r", "/root/work")
    assert changes(before, root.listing()) == []


def installed(node: Node, version: str) -> None:
    """Install all packages, without an index."""
    documented(node, "docs/install.md", "install", f"/root/work/{version}")


def documented(node: Node, page: str, name: str, directory: str = "/") -> None:
    """Run what a page says, in this directory of the host."""
    said(node, "sh", "-ec", f"cd {directory}\n{block(page, name).script}")


def console(node: Node) -> None:
    """Open the console on a terminal of the host, see the unit in it, and leave it."""
    leader, (ours, theirs) = node.leader(), os.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    command = ["nsenter", "--target", str(leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "env", "-i"]
    command += [
        "TERM=xterm-256color",
        "LANG=C.UTF-8",
        "HOME=/root/work",
        "PATH=/usr/bin:/bin",
        "fleettui",
        "--fresh",
    ]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as running:
        os.close(theirs)
        drawn = b""
        while b"hello.service" not in drawn:
            drawn += os.read(ours, 65536)
        os.write(ours, b":q\r")
        with suppress(OSError):
            while os.read(ours, 65536):
                pass
        assert running.wait(timeout=60) == 0
    os.close(ours)
    assert b"Traceback" not in drawn


def said(node: Node, *command: str, timeout_s: float = 400) -> str:
    """What a command prints; it must succeed, and no traceback may be seen."""
    done = node.exec(command, timeout_s=timeout_s)
    assert done.returncode == 0, f"{node.name}: {' '.join(command)}: {done.stdout[-1500:]} {done.stderr[-1500:]}"
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def main_pids(node: Node) -> list[str]:
    return [said(node, "systemctl", "show", "--value", "--property=MainPID", daemon).strip() for daemon in DAEMONS]


def status(node: Node) -> str:
    return said(node, "systemctl", "show", "--property=StatusText", DAEMONS[0])


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What is there and was not, is gone, or is another kind of thing, but for what the system keeps."""
    names = {*before, *after}
    return sorted(
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name) and not SYSTEMS.fullmatch(name)
    )


def repacked(deb: Path, directory: Path) -> Path:
    """The same package as a newer version."""
    directory.mkdir(exist_ok=True)
    tree = directory / deb.stem
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(Version: |\(= )0\.1\.0", r"\g<1>0.1.0+1", control.read_text()))
    newer = directory / deb.name.replace("0.1.0", "0.1.0+1")
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(newer)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return newer


@contextmanager
def etcd(address: str, directory: Path) -> Iterator[str]:
    """An etcd that hosts of the bridge reach; its endpoint."""
    url, peer = f"http://{address}:2379", f"http://{address}:2380"
    command = [
        str(find_binary()), f"--data-dir={directory}/etcd", f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]  # fmt: skip
    with (directory / "etcd.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
