"""The commands of the documents, run as a reader types them: on the operator's host, or on a machine."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleettui.demo import showcase
from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import active_on, eventually
from tests.documents import PAGES, ROOT, Block, blocks

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
RUNNING = ("hello-web.service", "web@1.service", "web@2.service")
RUN = [page for page in PAGES if any(each.place not in ("no", "text", "by") for each in blocks(page))]


@pytest.fixture
def desk(cluster: Cluster, tmp_path: Path) -> Path:
    """An operator's directory: the source tree's files are there, and nothing written there is in it."""
    assert showcase.start(cluster.fleetctl, containers=False) == []
    assert cluster.fleetctl("destroy", "web@3.service").returncode == 0  # or no machine could be drained
    eventually("units that run", lambda: all(active_on(cluster, unit) for unit in RUNNING), timeout_s=60)
    for path in ROOT.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / ".venv").unlink(missing_ok=True)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_commands_of_a_page_succeed(page: Path, cluster: Cluster, desk: Path) -> None:
    for each in blocks(page):
        if each.place == "operator" and each.rest == "running":
            for line in each.commands:
                _runs(line, cluster, desk)
        elif each.place == "operator":
            _succeeds(each, _bash(_named(each.script, cluster), cluster, desk))
        elif each.place.startswith("core-"):
            _succeeds(
                each, cluster.exec(each.place, ["bash", "-euxo", "pipefail", "-c", each.script], timeout_s=300)
            )


def _bash(script: str, cluster: Cluster, desk: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        env=_environment(cluster, desk),
        cwd=desk,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _succeeds(block: Block, done: subprocess.CompletedProcess[str]) -> None:
    """Fails with the last command that bash has begun, and what came of it."""
    wanted = int(block.rest.removeprefix("exit ") or 0)
    assert done.returncode == wanted, f"{block}: {done.stdout[-1500:]}\n{done.stderr[-1500:]}"


def _runs(line: str, cluster: Cluster, desk: Path) -> None:
    """The program says something on its terminal, and goes on until it is ended."""
    ours, theirs = pty.openpty()
    words = shlex.split(_named(line, cluster), comments=True)
    environment = _environment(cluster, desk) | {"TERM": "xterm-256color"}
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=desk, start_new_session=True
    ) as program:
        os.close(theirs)
        try:
            said = os.read(ours, 1000)
            with pytest.raises(subprocess.TimeoutExpired):
                program.wait(timeout=1)
        finally:
            os.killpg(program.pid, signal.SIGKILL)
            os.close(ours)
    assert said, line


def _environment(cluster: Cluster, desk: Path) -> dict[str, str]:
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    return cluster.environment | {"PATH": path, "HOME": str(desk), "PAGER": "cat"}


def _named(script: str, cluster: Cluster) -> str:
    """The local cluster of a reader is called demo, that of a test is not."""
    return script.replace("fleettui demo ", f"fleettui demo --name {cluster.layout.name} ")
