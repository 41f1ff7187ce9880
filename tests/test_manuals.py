"""Man pages render without a warning, and the help of all programs is of one style."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import agentd.__main__
import fleettui.__main__
import fleettui.serve
import scheduler.__main__
from fleettui.cli.arguments import command_parser, global_parser
from fleettui.cli.commands import SHOWN
from fleettui.demo import commands
from fleettui.install.commands import join_parser, leave_parser
from fleettui.tokens.commands import token_parser
from registry.units.options import OPTIONS

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs/man").iterdir())
PARSERS = [
    agentd.__main__.parser(),
    scheduler.__main__.parser(),
    fleettui.__main__.parser(),
    fleettui.serve.parser(),
    commands.parser(),
    join_parser(),
    leave_parser(),
    token_parser(),
    global_parser(),
    *(command_parser(each) for each in SHOWN),
]
RENDERERS = (
    ("groff", "-man", "-ww", "-b", "-k", "-Tutf8"),
    ("mandoc", "-Tlint", "-Wwarning"),
    ("man", "--warnings", "--encoding=UTF-8", "--local-file", "--troff-device=utf8", "--ditroff"),
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda words: words[0])
def test_a_page_renders_without_a_warning(renderer: tuple[str, ...], page: Path) -> None:
    if not shutil.which(renderer[0]):
        pytest.skip(f"{renderer[0]} is not installed")
    done = subprocess.run([*renderer, str(page)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr if renderer[0] == "mandoc" else done.stderr
    assert (done.returncode, said) == (0, "")


def test_there_are_the_six_pages() -> None:
    assert {page.name for page in PAGES} == {
        "fleetctl.1", "fleettui.1", "fleet-agentd.8", "fleet-scheduler.8", "fleet.toml.5", "fleet.unit.5",
    }  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_the_help_is_of_one_style(parser: argparse.ArgumentParser) -> None:
    if parser.description:
        assert re.fullmatch(r"[A-Z].*\.", parser.description, re.DOTALL), "a sentence or two"
    for action in parser._actions:
        if action.help in (None, argparse.SUPPRESS) or not action.option_strings:
            continue
        says = str(action.help)
        assert says[:1].islower() or says.startswith("SSH"), f"{says!r}: begins with a small letter"
        assert not says.endswith("."), f"{says!r}: is no sentence"
        if action.nargs != 0:
            takes = action.metavar or action.choices
            assert takes, f"{action.option_strings}: says what it takes"
        if "--version" in action.option_strings:
            assert says == "print the version"
        if "--config" in action.option_strings and " " not in parser.prog:
            assert says.startswith("the configuration file (")


def test_the_readme_says_of_the_options_of_units_what_the_man_page_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert dict(rows) == OPTIONS
