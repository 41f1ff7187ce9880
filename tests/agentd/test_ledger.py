from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.ledger import CannotRemember, Ledger
from agentd.pure.entry import LedgerEntry, Phase
from agentd.unit_directory import overwrite

MACHINE = "1" * 32
ENTRY = LedgerEntry("web@1.service", "a" * 64, 3, 17, Phase.STARTING, 123, "start failed: exit code 1")


def test_a_restarted_agent_finds_what_it_had_applied(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, MACHINE, "boot")
    ledger.remember(cluster_id="c", lease_id=5)
    ledger.put(ENTRY)
    again = Ledger(tmp_path, MACHINE, "boot")
    assert dict(again.entries) == {"web@1.service": ENTRY}
    assert (again.facts.cluster_id, again.facts.lease_id, again.rebooted) == ("c", 5, False)


def test_what_a_start_waits_for_and_what_came_of_it_is_remembered(tmp_path: Path) -> None:
    entry = replace(ENTRY, attempt=3, waits=("b.service", "c.service"), skipped="condition not met", cause="code 1")
    Ledger(tmp_path, MACHINE, "boot").put(entry)
    assert dict(Ledger(tmp_path, MACHINE, "boot").entries) == {entry.unit: entry}


def test_an_entry_of_an_agent_that_knew_no_attempts_is_one_of_none(tmp_path: Path) -> None:
    Ledger(tmp_path, MACHINE, "boot").put(ENTRY)
    path = tmp_path / "applied" / ENTRY.unit
    data = json.loads(path.read_text())
    path.write_text(json.dumps({name: data[name] for name in data if name not in ("attempt", "waits", "skipped")}))
    assert dict(Ledger(tmp_path, MACHINE, "boot").entries) == {ENTRY.unit: ENTRY}


def test_what_was_dropped_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, MACHINE, "boot")
    ledger.put(ENTRY)
    ledger.drop(ENTRY.unit)
    ledger.drop("never-there.service")
    assert not Ledger(tmp_path, MACHINE, "boot").entries


def test_a_new_boot_forgets_all_but_the_cluster(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, MACHINE, "boot")
    ledger.remember(cluster_id="c", lease_id=5)
    ledger.put(ENTRY)
    booted = Ledger(tmp_path, MACHINE, "another boot")
    assert booted.rebooted
    assert not booted.entries
    assert (booted.facts.cluster_id, booted.facts.lease_id) == ("c", 0)
    assert not Ledger(tmp_path, MACHINE, "another boot").rebooted


def test_another_machine_id_forgets_the_cluster_too(tmp_path: Path) -> None:
    Ledger(tmp_path, MACHINE, "boot").remember(cluster_id="c")
    assert Ledger(tmp_path, "2" * 32, "boot").facts.cluster_id == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unit": 1}', json.dumps({"phase": "unheard of"})])
def test_a_broken_entry_is_passed_over(tmp_path: Path, text: str) -> None:
    Ledger(tmp_path, MACHINE, "boot").put(ENTRY)
    (tmp_path / "applied" / "bad.service").write_text(text)
    assert list(Ledger(tmp_path, MACHINE, "boot").entries) == [ENTRY.unit]


EDITED = [
    {"unit": 7}, {"unit": "other.service"}, {"hash": None}, {"hash": "A"}, {"generation": "3"},
    {"generation": True}, {"at_us": 1e400}, {"at_us": []}, {"phase": 7}, {"error": {}},
    {"lease": 1.5}, {"run_us": "now"},
]  # fmt: skip


@pytest.mark.parametrize("edit", EDITED, ids=str)
def test_an_entry_of_the_wrong_types_is_as_good_as_none(tmp_path: Path, edit: dict[str, object]) -> None:
    Ledger(tmp_path, MACHINE, "boot").put(ENTRY)
    path = tmp_path / "applied" / ENTRY.unit
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    assert not Ledger(tmp_path, MACHINE, "boot").entries
    assert not path.exists()


def test_a_field_of_another_version_is_passed_over(tmp_path: Path) -> None:
    Ledger(tmp_path, MACHINE, "boot").put(ENTRY)
    path = tmp_path / "applied" / ENTRY.unit
    path.write_text(json.dumps(json.loads(path.read_text()) | {"of_tomorrow": [1]}))
    assert dict(Ledger(tmp_path, MACHINE, "boot").entries) == {ENTRY.unit: ENTRY}


def test_what_is_no_entry_at_all_keeps_no_agent_from_starting(tmp_path: Path) -> None:
    Ledger(tmp_path, MACHINE, "boot").put(ENTRY)
    (tmp_path / "applied" / "directory.service").mkdir()
    (tmp_path / "applied" / "README").write_text("hands off")
    (tmp_path / "applied" / "deep.service").write_text("[" * 100_000)
    assert list(Ledger(tmp_path, MACHINE, "boot").entries) == [ENTRY.unit]
    assert not Ledger(tmp_path, MACHINE, "another boot").entries


def test_a_ledger_that_was_removed_is_written_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "fleet", MACHINE, "boot")
    ledger.put(ENTRY)
    shutil.rmtree(tmp_path / "fleet")
    other = replace(ENTRY, unit="other.service")
    ledger.put_first(other)
    ledger.flush()
    assert dict(Ledger(tmp_path / "fleet", MACHINE, "boot").entries) == {ENTRY.unit: ENTRY, other.unit: other}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"lease": 1}', '{"boot_id": 7}', '{"renewed_at": NaN}', "[" * 100_000]
)
def test_broken_facts_are_started_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "agent.json").write_text(text)
    assert Ledger(tmp_path, MACHINE, "boot").facts.boot_id == "boot"


def test_no_file_is_readable_by_others(tmp_path: Path) -> None:
    Ledger(tmp_path, MACHINE, "boot").put(ENTRY)
    assert [path.stat().st_mode & 0o077 for path in tmp_path.rglob("*") if path.is_file()] == [0, 0]


def test_what_lies_on_a_full_disk_is_overwritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    path.write_text("a longer text than the new one")
    overwrite(path, '{"a": 1}')
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(OSError, match="No space left"):
        overwrite(path, "x" * 100_000)
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_start_is_not_begun_without_its_entry(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, MACHINE, "boot")
    (tmp_path / "applied" / ENTRY.unit).mkdir()  # nothing can be written there
    with pytest.raises(CannotRemember, match="make room"):
        ledger.put_first(ENTRY)
    assert not ledger.entries


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, MACHINE, "boot")
    (tmp_path / "applied" / ENTRY.unit).mkdir()
    assert ledger.put(ENTRY) == ENTRY
    assert dict(ledger.entries) == {ENTRY.unit: ENTRY}
    (tmp_path / "applied" / ENTRY.unit).rmdir()
    ledger.flush()
    assert dict(Ledger(tmp_path, MACHINE, "boot").entries) == {ENTRY.unit: ENTRY}
