"""The Quadlets of one machine: what lies where Podman's generator looks, and what goes again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentd.managed_unit import Taken
from agentd.pure.crash import journal_argv
from agentd.quadlets import Quadlets, link_place, unit_place
from agentd.unit_directory import UnitDirectory

WEB = "[Container]\nImage=a\nVolume=data.volume:/data\n"
DATA = "[Volume]\nDriver=image\nImage=base.image\n"
TEXTS = {"data.volume": DATA, "base.image": "[Image]\nImage=a\n"}


class Stops:
    """Remembers what it was asked to stop."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    async def stop(self, unit: str) -> asyncio.Future[str] | None:
        self.stopped.append(unit)
        return None


class Machine:
    """A machine's directories, below a temporary one."""

    def __init__(self, run: Path) -> None:
        self.links = run / "systemd/system"
        self.place = link_place(self.links, "a.container")
        self.systemd, self.directory = Stops(), UnitDirectory(run / "fleet/units")
        self.quadlets = Quadlets(self.systemd, self.directory, self.links)

    def seen(self) -> dict[str, str]:
        """What the generator sees."""
        return {path.name: path.read_text() for path in sorted(self.place.iterdir())}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_the_generator_sees_a_quadlet_and_what_it_needs_until_it_goes(machine: Machine) -> None:
    machine.directory.write("web.container", WEB)
    assert await machine.quadlets.arrange(TEXTS, "web.container")
    assert machine.seen() == {"web.container": WEB, **TEXTS}
    assert machine.place == machine.links.parent.parent / "containers/systemd"
    machine.quadlets.note_reread(machine.quadlets.changes)
    assert not await machine.quadlets.arrange(TEXTS, "web.container")
    machine.directory.write("other.container", "[Container]\nImage=base.image\n")
    assert await machine.quadlets.arrange({}, "other.container")
    (machine.place / "web.container").unlink()
    machine.directory.remove("web.container")
    assert await machine.quadlets.arrange({})
    assert sorted(machine.seen()) == ["base.image", "other.container"]
    assert machine.systemd.stopped == ["data.volume"]


async def test_what_one_has_changed_is_to_be_read_for_every_other_until_a_later_reload_is_over(
    machine: Machine,
) -> None:
    quadlets, other = machine.quadlets, "other.container"
    for name in ("web.container", other):
        machine.directory.write(name, WEB)
        await quadlets.arrange(TEXTS, name)
    quadlets.note_reread(quadlets.changes)
    began_before = quadlets.changes
    newer = TEXTS | {"data.volume": f"{DATA}Label=newer=1\n"}
    assert await quadlets.arrange(newer, "web.container")
    assert await quadlets.arrange(newer, other)
    quadlets.note_reread(began_before)
    assert await quadlets.arrange(newer, other)
    quadlets.note_reread(quadlets.changes)
    assert not await quadlets.arrange(newer, "web.container")
    assert await Quadlets(machine.systemd, machine.directory, machine.links).arrange(newer, other)


async def test_what_was_changed_before_the_disk_was_full_is_to_be_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.directory.write("web.container", WEB)
    await machine.quadlets.arrange(TEXTS, "web.container")
    machine.quadlets.note_reread(machine.quadlets.changes)
    write = UnitDirectory.write

    def full(directory: UnitDirectory, name: str, text: str) -> bool:
        if name == "base.image":
            raise OSError(28, "No space left on device")
        return write(directory, name, text)

    newer = TEXTS | {"data.volume": f"{DATA}Label=newer=1\n"}
    monkeypatch.setattr(UnitDirectory, "write", full)
    with pytest.raises(OSError, match="No space left"):
        await machine.quadlets.arrange(newer, "web.container")
    monkeypatch.setattr(UnitDirectory, "write", write)
    assert await machine.quadlets.arrange(newer, "web.container")


async def test_what_is_a_unit_here_itself_is_not_covered_by_what_lies_beside_another(machine: Machine) -> None:
    machine.directory.write("data.volume", "[Volume]\nLabel=its=own\n")
    assert await machine.quadlets.arrange({}, "data.volume")
    machine.directory.write("web.container", WEB)
    assert await machine.quadlets.arrange(TEXTS, "web.container")
    assert machine.seen()["data.volume"] == "[Volume]\nLabel=its=own\n"
    (machine.place / "web.container").unlink()
    machine.directory.remove("web.container")
    await machine.quadlets.arrange({})
    assert machine.seen()["data.volume"] == "[Volume]\nLabel=its=own\n"
    assert machine.systemd.stopped == ["base.image"]


@pytest.mark.parametrize("name", ["web.container", "data.volume"])
async def test_a_file_of_the_hosts_stays_and_refuses_ours(machine: Machine, name: str) -> None:
    machine.place.mkdir(parents=True)
    (machine.place / name).write_text("the host's")
    machine.directory.write("web.container", WEB)
    with pytest.raises(Taken, match=f"file of its own at .*/{name}; choose another name"):
        await machine.quadlets.arrange(TEXTS, "web.container")
    assert machine.seen()[name] == "the host's"


def test_a_service_that_is_made_is_found_where_generators_put_it(tmp_path: Path) -> None:
    links = tmp_path / "systemd/system"
    assert unit_place(links, "web.container") == tmp_path / "systemd/generator"
    assert unit_place(links, "web.service") == link_place(links, "web.service") == links


def test_the_journal_of_a_crash_is_that_of_the_service() -> None:
    assert "_SYSTEMD_UNIT=data-volume.service" in journal_argv("0" * 32, "system", 0, "data.volume")
