"""What machines say over SSH of clock, agent and disks: untrusted, and read as far as it makes sense."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from fleettui.doctor import hosts
from fleettui.doctor.facts import HostExamination
from fleettui.doctor.host_reading import examine_hosts
from fleettui.remote import Remote
from fleettui.remote.command import Completed
from tests.placement.world import World, machine


class Saying:
    """A remote whose machines all say the same."""

    def __init__(self, said: str) -> None:
        self.said = said

    async def __aenter__(self) -> Saying:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def run(self, *_: object, **__: object) -> Completed:
        return Completed(self.said.replace("NOW", str(time.time())).encode(), b"", 0)


async def examined(said: str) -> HostExamination:
    (found,) = await examine_hosts(cast("Remote", Saying(said)), World(machine("a1")).snapshot)
    return found


async def test_disks_are_read_by_where_they_are_mounted() -> None:
    found = await examined("NOW\nactive\n/dev/vda1 100 50 40 55% /\nnone 8 4 4 50% /with a space\n")
    assert found.disks == {"/": (40 << 10, 100 << 10), "/with a space": (4 << 10, 8 << 10)}
    assert (found.problem, found.agent) == ("", "active")


@pytest.mark.parametrize("row", ["/dev/vda1 100 100 0 100% elsewhere", "tmpfs 1 1 0 100% -"])
async def test_what_is_mounted_nowhere_is_passed_over(row: str) -> None:
    found = await examined(f"NOW\nactive\n{row}\n")
    assert found.disks == {}
    (finding,) = hosts.hosts(cast("Any", type("Facts", (), {"hosts": (found,)})))
    assert "disks fine" in finding.text


@pytest.mark.parametrize("said", ["", "soon\nactive\n", "NOW\n", "NOW\nactive\na b c d e /\n"])
async def test_an_answer_that_makes_no_sense_is_told_as_such(said: str) -> None:
    assert (await examined(said)).problem == "its answer cannot be understood"
