"""Every command that the documents show is run by a test, but for a few that say why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import PAGES, ROOT, block, blocks

MOST_NOT_RUN = 24  # lines; lower it when there are fewer


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_how_it_is_tested(page: Path) -> None:
    for each in blocks(page):
        assert each.place, f"{each}: say before it how it is tested; tests/documents.py has the ways"
        if each.place in ("operator", "core-1", "core-2", "core-3"):
            assert re.fullmatch(r"|running|exit [0-9]+", each.rest), str(each)
        elif each.place == "by":
            file, _, name = each.rest.partition(", ")
            assert block(each.page, name) == each, str(each)
            source = (ROOT / file).read_text()
            assert f'"{each.page}"' in source, f"{each}: {file} does not take a block of this page"
            assert f'"{name}"' in source, f"{each}: {file} does not take it"
        else:
            assert each.place in ("no", "text"), str(each)
            assert each.rest or each.place == "text", f"{each}: say why it cannot be run"


def test_few_commands_are_not_run() -> None:
    spared = [each for page in PAGES for each in blocks(page) if each.place == "no"]
    left = [f"{each}: {line}" for each in spared for line in each.commands]
    assert len(left) <= MOST_NOT_RUN, "\n".join(left)


def test_a_block_is_found_in_each_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.documents.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n<!-- test: operator -->\n\n    one  # a comment\n    # another\n\nmore\n\n"
        "<!-- test: no, a reason -->\n```sh\ntwo\n```\n\n1. i\n\n"
        "   <!-- test: by tests/a.py, name -->\n\n       three\n\n"
        "```toml\nfour = 4\n```\n\n    five\n"
    )
    found = [(each.place, each.rest, each.commands) for each in blocks(page)]
    assert found == [
        ("operator", "", ["one  # a comment"]),
        ("no", "a reason", ["two"]),
        ("by", "tests/a.py, name", ["three"]),
        ("", "", ["five"]),
    ]
