from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

import pytest

from agentd.file_reader import KEPT, LARGE, FileReader
from agentd.pure import file_facts
from agentd.pure.file_facts import FileFacts
from registry.units.file import MAX_BYTES, UnitFile, parse
from registry.units.hostreach import InstallLink

TEXT = "[Service]\nExecStart=-/bin/echo hello\n[Install]\nAlias=b.service\n"


def test_a_file_is_read_once_however_often_it_is_asked_for() -> None:
    reader = FileReader()
    link = InstallLink("Alias", "b.service", 4)
    expected = FileFacts(installs=True, links=(link,), program="/bin/echo")
    assert [reader.read_now("a.service", TEXT) for _ in range(50)] == [expected] * 50
    assert reader.count == 1
    for number in range(KEPT + 1):
        reader.read_now("a.service", f"#{number}\n")
    reader.read_now("a.service", TEXT)
    assert reader.count == KEPT + 3


async def test_a_large_file_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def parse_and_note(text: str) -> UnitFile:
        threads.append(threading.current_thread())
        return parse(text)

    monkeypatch.setattr(file_facts, "parse", parse_and_note)
    facts = await FileReader().read("a.service", TEXT + "#\n" * LARGE)
    assert facts.program == "/bin/echo"
    assert threads
    assert threading.main_thread() not in threads


async def test_instances_of_a_template_that_are_loaded_side_by_side_share_one_reading() -> None:
    reader, text = FileReader(), "[Install]\nAlias=b-%i.service\n" + "#\n" * LARGE
    names = [f"a@{number}.service" for number in range(60)]
    found = await asyncio.gather(*(reader.read(name, text) for name in names))
    assert [facts.links[0].unit for facts in found] == [f"b-{number}.service" for number in range(60)]
    assert reader.count == 1


def test_a_file_that_is_too_large_says_nothing() -> None:
    assert FileReader().read_now("a.service", TEXT + "#" * MAX_BYTES) == FileFacts()


def calls(work: Callable[[], object]) -> int:
    count = 0

    def count_call(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "piece",
    [
        "\n",
        "a=\n",
        "[a]\n",
        "Alias=a\n",
        "Alias=\n",
        "Also=a@b.c d\n",
        "\\\n",
        "ExecStart=\n",
        "[Install]\nAlias=%i\n",
    ],
)
def test_twice_the_file_is_twice_the_work(piece: str) -> None:
    def work(times: int) -> int:
        return calls(lambda: FileReader().read_now("a.service", "[Install]\n" + piece * times))

    assert work(1000) <= 2.2 * work(500) + 100
