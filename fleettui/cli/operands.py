"""What each word of a command line may become: read from the parsers, by what they call their values. Pure.

A flag's value and an operand are completed by their metavar, which `RULES` knows: names that the registry has,
paths, words, or text of the user's own. A verb with acts says them, and what follows each, in the metavar of its
operands ("set NAME KEY=VALUE… | list | show NAME"): words in small letters are acts, all others are values, and the
last of those may be given again where it ends in "…". So a verb or a flag that is added is completed once it is
parsed, and one that calls its values what no other does needs a rule here.
"""

from __future__ import annotations

import re
from argparse import REMAINDER, Action
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from fleettui.cli.arguments import ArgumentParser, actions, command_parser, global_parser, options, with_truth
from fleettui.cli.commands import BY_NAME, SHOWN, STRICT, Command, Listed


class NameKind(StrEnum):
    """What the registry has names of."""

    UNIT = "unit"
    TEMPLATE = "template"
    MACHINE = "machine"
    ROLLOUT = "rollout"
    CONFIG = "config"
    SECRET = "secret"  # noqa: S105 - a kind of names


class PathKind(StrEnum):
    """Which paths the shell is to offer; the value is what the scripts are told."""

    NONE = ""
    FILES = ":files"
    FOLDERS = ":folders"


class ValueRule(NamedTuple):
    """What a value may be. Text of the user's own is none of it."""

    words: tuple[str, ...] = ()
    names: tuple[NameKind, ...] = ()
    paths: PathKind = PathKind.NONE

    def __or__(self, other: ValueRule) -> ValueRule:
        """Either of them."""
        return ValueRule((*self.words, *other.words), (*self.names, *other.names), self.paths or other.paths)


class OperandForm(NamedTuple):
    """One way in which operands may be given: after an act, or without one (""), values of these kinds."""

    act: str
    kinds: tuple[str, ...]
    repeats: bool  # the last of them


class WantedWord(NamedTuple):
    """What may stand for the last word: `rule` for all that comes after `stem`, with which the word begins."""

    rule: ValueRule
    stem: str = ""


FREE = ValueRule()  # text of the user's own
FILE, FOLDER = ValueRule(paths=PathKind.FILES), ValueRule(paths=PathKind.FOLDERS)
FIELDS, VERBS = "F,…", "COMMAND"  # metavars whose words depend on the command line
JOURNAL_FORMATS = (
    "short", "short-full", "short-iso", "short-iso-precise", "short-precise", "short-monotonic", "short-delta",
    "short-unix", "verbose", "export", "json", "json-pretty", "json-sse", "json-seq", "cat", "with-unit",
)  # fmt: skip
RULES = {
    "UNIT": ValueRule(names=(NameKind.UNIT,)),
    "TEMPLATE": ValueRule(names=(NameKind.TEMPLATE,)),
    "MACHINE": ValueRule(names=(NameKind.MACHINE,)),
    "ROLLOUT": ValueRule(names=(NameKind.ROLLOUT,)),
    "ssh COMMAND": FREE,
    "config NAME": ValueRule(names=(NameKind.CONFIG,)),
    "secret NAME": ValueRule(names=(NameKind.SECRET,)),
    "FILE": FILE,
    "DIR": FOLDER,
    "BOOL": ValueRule(("true", "false")),
    "ROLE": ValueRule(("operator", "viewer", "scheduler", "agent")),
    "FORMAT": ValueRule(JOURNAL_FORMATS),
    **dict.fromkeys(
        (
            "CLUSTER", "DURATION", "HOST[:PORT]", "KEY", "KEY=VALUE", "N", "N%", "NAME", "PATH", "PREFIX", "TIME",
            "URL,…", "USER", "VERSION",
        ),
        FREE,
    ),
}  # fmt: skip
"""By metavar, or by verb and metavar, which goes first."""


def wanted(words: Sequence[str]) -> WantedWord:
    """What the last of the words may become. KeyError for a metavar that no rule is known for."""
    *before, word = words
    parser = global_parser()
    verbs, waiting = _walk(parser, before)
    command = None
    if verbs:
        command = BY_NAME.get(verbs[0])
        if command is None:
            return WantedWord(FREE)
        parser = command_parser(command)
        operands, waiting = _walk(parser, before[before.index(verbs[0]) + 1 :])
    if waiting is not None:
        return _in_list(value_rule(waiting, command), waiting, word)
    if word.startswith("-"):
        flag, equals, value = word.partition("=")
        if not equals:
            return WantedWord(ValueRule(tuple(each for each in options(parser) if each != "--")))
        found = taking(parser).get(flag)
        return _in_list(value_rule(found, command), found, value, f"{flag}=") if found else WantedWord(FREE)
    if command is None:
        return WantedWord(ValueRule(tuple(each.name for each in SHOWN)))
    return WantedWord(operand_rule(command, operand_actions(parser), operands))


def _walk(parser: ArgumentParser, words: Sequence[str]) -> tuple[list[str], Action | None]:
    """The operands among the words, and the flag that waits for its value after them."""
    found, waiting = taking(parser), None
    ends = any(each.nargs == REMAINDER for each in operand_actions(parser)) or not operand_actions(parser)
    operands: list[str] = []
    for word in with_truth(words):
        if waiting is not None:
            waiting = None
        elif "--" in operands or (ends and operands) or not word.startswith("-") or word in ("-", "--"):
            operands.append(word)
        elif word != f"{STRICT}=true":
            waiting = found.get(word)
    return [each for each in operands if each != "--"], waiting


def taking(parser: ArgumentParser) -> dict[str, Action]:
    """The flags that take a value, by each of their spellings."""
    return {option: each for each in actions(parser) if each.nargs is None for option in each.option_strings}


def operand_actions(parser: ArgumentParser) -> list[Action]:
    """What the parser takes beside flags."""
    return [each for each in actions(parser) if not each.option_strings]


def value_rule(action: Action, command: Command | None) -> ValueRule:
    """What the value of a flag may be."""
    metavar = str(action.metavar)
    if action.choices is not None:
        return ValueRule(tuple(map(str, action.choices)))
    if metavar in RULES:
        return RULES[metavar]
    return _any_of(metavar.split("|") if metavar != FIELDS else [metavar], command)


def operand_rule(command: Command, takes: Sequence[Action], before: Sequence[str]) -> ValueRule:
    """What the operand may be that comes after these."""
    if not takes:
        return FREE
    at = min(len(before), len(takes) - 1)
    action, own = takes[at], before[at:]  # all but the last take one each
    if action.choices is not None:
        return FREE if own else ValueRule(tuple(map(str, action.choices)))
    many = action.nargs in ("*", "+")
    ways = list(forms(str(action.metavar), many=many))
    acts = [each for each in ways if each.act and own[:1] == [each.act]]
    rule = FREE
    for each in acts or [each for each in ways if not each.act]:
        values = own[1:] if each.act else own
        if len(values) < len(each.kinds) or each.repeats:
            rule |= _any_of([each.kinds[min(len(values), len(each.kinds) - 1)]], command)
    return rule if own else ValueRule(tuple(each.act for each in ways if each.act)) | rule


def forms(metavar: str, *, many: bool = False) -> Iterator[OperandForm]:
    """The ways in which the operands of this metavar may be given; `many`: that of one value repeats it."""
    for each in re.split(r"\s*\|\s*", metavar):
        words = [word.strip("[]…") for word in each.split()]
        act = words[0] if words[0].islower() else ""
        kinds = tuple(word for word in words if word and word != act)
        repeats = each.rstrip("]").endswith("…") or (many and not act and len(kinds) == 1)
        yield OperandForm(act, kinds, repeats and bool(kinds))


def _any_of(kinds: Sequence[str], command: Command | None) -> ValueRule:
    rule = FREE
    for kind in kinds:
        own = RULES.get(f"{command.name if command else ''} {kind}")
        if own is not None:
            rule |= own
        elif kind == VERBS:
            rule |= ValueRule(tuple(each.name for each in SHOWN))
        elif kind == FIELDS:
            listed = (each.of.known for each in (command.flags if command else ()) if isinstance(each, Listed))
            rule |= ValueRule(next(listed, ()))
        else:
            rule |= RULES[kind]
    return rule


def _in_list(rule: ValueRule, action: Action, word: str, stem: str = "") -> WantedWord:
    """Of a list that commas part, what may be next."""
    if action.metavar != FIELDS:
        return WantedWord(rule, stem)
    head = word[: word.rfind(",") + 1]
    return WantedWord(
        rule._replace(words=tuple(each for each in rule.words if each not in head.split(","))), stem + head
    )
