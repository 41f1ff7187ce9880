"""The code blocks of the documents, and what is to be done with each to test it.

A comment before a block of commands says where they are run:

    <!-- test: operator -->             on the operator's host, with the demo's three machines and example units
    <!-- test: operator, exit 1 -->     the same, and the exit code is this one instead of 0
    <!-- test: core-1 -->               as root on this machine of that cluster; takes `exit` as well
    <!-- test: operator, running -->    each line is a program that goes on: seen to run, then ended
    <!-- test: by FILE, NAME -->        by another test, which takes the block by `block(page, NAME)`
    <!-- test: no, REASON -->           not at all; there are few of these
    <!-- test: text -->                 there is no command in it

A fenced block with a language that no shell speaks needs no comment. Commands stand as a reader types them, so the
comments in them, the machines core-1 to core-3 and the units of `examples/` are what tests and readers both have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
PAGES = tuple(sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]))
SHELLS = ("", "sh", "bash", "shell", "console")
MARK = re.compile(r"<!-- test: (?P<place>[\w-]+)(?:,? (?P<rest>[^>]+?))? -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of commands: where it stands, what it says, and the words of the comment before it."""

    page: str
    line: int
    script: str
    place: str  # "" without a comment
    rest: str

    @property
    def commands(self) -> list[str]:
        """The lines that are commands."""
        return [line for line in self.script.splitlines() if line.strip() and not line.startswith("#")]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that may hold commands, in their order."""
    found, mark = [], None
    for token in MarkdownIt("commonmark").parse(page.read_text()):
        if token.type in ("code_block", "fence") and token.info.partition(" ")[0] in SHELLS and token.map:
            place, rest = (mark["place"], mark["rest"] or "") if mark else ("", "")
            name = str(page.relative_to(ROOT))
            found.append(Block(name, token.map[0] + 1, token.content, place, rest))
        mark = MARK.fullmatch(token.content.strip()) if token.type == "html_block" else None
    return found


def block(page: str, name: str) -> Block:
    """The block of a page that its comment leaves to another test under this name."""
    (found,) = [each for each in blocks(ROOT / page) if each.place == "by" and each.rest.split(", ")[1:] == [name]]
    return found
