"""The example units: all started, all described, all accepted."""

from __future__ import annotations

import re
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from fleettui.demo import images, showcase
from fleettui.demo.process import Completed
from registry.units.check import verify

EXAMPLES = sorted(path for path in showcase.directory().iterdir() if path.suffix != ".md")


class Recorder:
    """Stands for fleetctl: keeps what it is asked, and answers with what it is given."""

    def __init__(self, code: int = 0, stderr: str = "") -> None:
        self.orders: list[tuple[str, ...]] = []
        self.answer: Completed = Completed([], code, "", stderr)

    def __call__(self, *arguments: str) -> Completed:
        self.orders.append(arguments)
        return self.answer


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_no_fault(path: Path) -> None:
    assert not verify(path.name, path.read_bytes(), path.name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_what_it_shows_and_the_page_lists_it(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert f"`{path.name}`" in (path.parent / "README.md").read_text()


def test_every_example_is_handed_in() -> None:
    fleetctl = Recorder()
    assert showcase.start(fleetctl, containers=True) == []
    named = {Path(word).name for order in fleetctl.orders for word in order if "/" in word}
    templates = {re.sub(r"@\d+", "@", name) for name in named}
    assert templates == {path.name for path in EXAMPLES}
    assert {"web@1.service", "web@2.service", "web@3.service"} <= named


def test_a_host_without_podman_starts_no_container() -> None:
    fleetctl = Recorder()
    showcase.start(fleetctl, containers=False)
    assert not any("container" in word for order in fleetctl.orders for word in order)


def test_a_refusal_is_reported_in_one_line() -> None:
    complaints = showcase.start(Recorder(1, "first\nthe reason\n"), containers=True)
    assert complaints == ["fleetctl submit: the reason", "fleetctl load: the reason", "fleetctl start: the reason"]


def test_the_image_is_one_program_under_its_names(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"\x7fELF")
    with tarfile.open(fileobj=BytesIO(images.image_archive(busybox))) as archive:
        assert archive.getmember("bin/sh").linkname == "busybox"
        assert archive.getmember("bin/busybox").mode == 0o755
        assert archive.getmember("bin/busybox").size == 4
