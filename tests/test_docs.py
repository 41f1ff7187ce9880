"""What the documents say of the code is so: made parts are current, links lead somewhere, commands parse."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fleettui.cli.arguments import find, parse
from registry.keys import Table
from registry.leases import LEASED
from registry.program.config import load

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PACKAGES = ("registry", "placement", "scheduler", "agentd", "fleettui")
DECISIONS = sorted(ROOT.glob("docs/adr/[0-9]*.md"))


def test_parts_made_from_the_code_are_current() -> None:
    command = [sys.executable, str(ROOT / "scripts/reference"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    text = page.read_text()
    shown = re.findall(r"^    (?:\S*/)?fleetctl (.+)$", text, re.MULTILINE) + re.findall(
        r"`fleetctl ([^`]+)`", text
    )
    for line in shown:
        words = shlex.split(line.partition("  #")[0], comments=True)
        if re.search(r"[\[|<>…]|VERB", line) or words[0].startswith("-"):
            continue
        if all(word.startswith("-") for word in words[1:]):
            find(words[0])  # the verb is meant, or the verb with a flag
        else:
            parse(words)


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.name[:4])
def test_a_decision_has_its_parts(decision: Path) -> None:
    text = decision.read_text()
    assert re.match(rf"# {int(decision.name[:4])}\. ", text)
    parts = re.findall(r"^\*\*(\w+)\.\*\* ?", text, re.MULTILINE)
    assert [part for part in parts if part != "Measured"] == [
        "Status", "Context", "Decision", "Alternatives", "Consequence",
    ]  # fmt: skip


def test_names_of_the_glossary_are_in_the_code() -> None:
    sources = "\n".join(path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    for line in (ROOT / "docs/glossary.md").read_text().splitlines():
        for name in re.findall(r"`([^`]+)`", line.rpartition(" | ")[2]):
            if "/" in name:
                assert (ROOT / name).exists(), name
            else:
                assert all(re.search(rf"\b{part}\b", sources) for part in name.split(".")), name


def test_the_wire_contract_has_every_table_and_says_which_are_leased() -> None:
    rows = re.findall(
        r"^\| `(\w+)[^`]*` \| [^|]+ \| (yes|no) \|", (ROOT / "docs/wire.md").read_text(), re.MULTILINE
    )
    assert dict(rows) == {table.value: "yes" if table in LEASED else "no" for table in Table}


@pytest.mark.parametrize(
    "page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/README.md", "docs/wire.md", "docs/security.md"]
)
def test_files_that_are_named_are_there(page: str) -> None:
    roots = (".", "fleettui", "fleettui/console", *PACKAGES)
    for name in re.findall(r"`([\w./-]+\.py)`", (ROOT / page).read_text()):
        assert any((ROOT / root / name).exists() for root in roots), name


def test_every_invariant_has_a_test_that_names_it() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    invariants = (ROOT / "ARCHITECTURE.md").read_text().partition("## Invariants")[2]
    numbers = re.findall(r"^(\d+)\. \*\*", invariants, re.MULTILINE)
    assert numbers
    for number in numbers:
        assert f"def test_invariant_{number}_" in tests, number


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configurations_that_are_shown_are_valid(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        load(path, {})


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs/README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index.read_text())}
    assert {path.resolve() for path in ROOT.glob("docs/**/*.md")} - {index.resolve()} <= linked
