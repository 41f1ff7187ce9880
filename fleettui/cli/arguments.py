"""The command line of `fleetctl`: parsers of the verbs that `commands` has, and the words that are read by them."""

from __future__ import annotations

import fleettui.cli.plain_argparse  # noqa: F401 - first: it imports the next one without what it brings along

# isort: split
import argparse
import itertools
import re
from collections.abc import Sequence
from typing import NoReturn

from fleettui.cli.commands import BY_NAME, GLOBALS, SHOWN, STRICT, Command
from fleettui.cli.failures import UsageError

NO_GLOBALS = {flag.strip("-").replace("-", "_"): None if metavar else False for flag, metavar, _ in GLOBALS}
_OPERAND = "\0"  # in front of an operand that looks like a flag, while it is parsed


class ArgumentParser(argparse.ArgumentParser):
    """argparse, with errors raised instead of printed."""

    _shown = False  # whether its help is being written

    def _get_formatter(self) -> argparse.HelpFormatter:
        # argparse asks for one with every flag, and finds the terminal's width by modules that cost more than all
        # of a short command.
        if not self._shown:
            return argparse.HelpFormatter(self.prog, width=80)
        return super()._get_formatter()

    def format_help(self) -> str:
        """As wide as the terminal."""
        self._shown = True
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, in a sentence, with this parser's usage."""
        raise UsageError(sentence(message), f"see: {self.prog} --help")


SENTENCES = (  # what argparse says, and what we say; the last is for what it may say one day
    (r"the following arguments are required: (.+)", r"\1 is missing; name one"),
    (r"argument (\S+): expected one argument", r"\1 takes a value; give one after it"),
    (r"argument (\S+): expected at least one argument", r"\1 is missing; name one"),
    (r"argument (\S+): invalid (?:int|_count|_one_or_more) value: (.+)", r"\1 takes a number; \2 is none"),
    (r"argument (\S+): invalid \S+ value: (.+)", r"\1 cannot be \2"),
    (r"argument (\S+): invalid choice: (\S+) \(choose from (.+)\)", r"\1 cannot be \2; it is one of \3"),
    (r"argument (\S+): ignored explicit argument (.+)", r"\1 takes no value; leave \2 out"),
    (r"ambiguous option: (\S+) could match (.+)", r"\1 may mean \2; write it out"),
    (r"argument (\S+): (.+)", r"\1: \2"),
)


def sentence(message: str) -> str:
    """What argparse complains of, as a sentence with a remedy; anything else as it is."""
    for pattern, said in SENTENCES:
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return found.expand(said)
    return message


def parse(argv: Sequence[str]) -> tuple[Command, argparse.Namespace]:
    """The command and its flags; global flags may stand before or after the verb.

    UsageError, with the nearest name, for what is not known. SystemExit(0) after a help text was printed.
    """
    words = with_truth(argv)
    if words and not words[0].startswith("-"):  # as nearly always: making the parser takes as long as a request
        flags = argparse.Namespace(help=False, version=False, **NO_GLOBALS)
        command = find(words[0])
        return command, _parsed(command_parser(command), words[1:], flags)
    parser = global_parser()
    count = _words_before_verb(words, parser)
    flags = _parsed(parser, words[:count], argparse.Namespace())
    if flags.version:
        return BY_NAME["version"], flags
    if count == len(words) or flags.help:
        if not flags.help:
            raise UsageError("no command is given", "see: fleetctl --help")
        return BY_NAME["help"], argparse.Namespace(**vars(flags), topic=None)
    command = find(words[count])
    return command, _parsed(command_parser(command), words[count + 1 :], flags)


def find(name: str) -> Command:
    """The command of this name. UsageError with the nearest one."""
    if name in BY_NAME:
        return BY_NAME[name]
    near = _did_you_mean(name, [each.name for each in SHOWN])
    raise UsageError(f"unknown command {name!r}{near}", "see: fleetctl --help")


def _words_before_verb(words: Sequence[str], parser: ArgumentParser) -> int:
    taking = {option for action in actions(parser) if action.nargs is None for option in action.option_strings}
    index = 0
    while index < len(words) and words[index].startswith("-") and words[index] != "--":
        index += 2 if words[index] in taking else 1
    return min(index, len(words))


def _parsed(parser: ArgumentParser, words: Sequence[str], flags: argparse.Namespace) -> argparse.Namespace:
    remainder = any(action.nargs == argparse.REMAINDER for action in actions(parser))
    if parser.add_help and not remainder and {"-h", "--help"} & {*itertools.takewhile("--".__ne__, words)}:
        parser.print_help()  # here, since the intermixed way fails on a % in the usage that it makes first
        raise SystemExit(0)
    parse_known = parser.parse_known_args if remainder else parser.parse_known_intermixed_args
    if not remainder:
        parser.usage = parser.usage or "%(prog)s"  # shown with the help alone, it would cost as much as the parsing
    try:
        flags, extra = parse_known(list(words) if remainder else _operands(words), flags)
    except argparse.ArgumentError as error:
        parser.error(str(error))
    for name, value in vars(flags).items():
        if isinstance(value, list):
            setattr(flags, name, [each.removeprefix(_OPERAND) for each in value])
    for word in extra:
        if not word.startswith("-"):
            parser.error(f"unexpected argument {word!r}")
        name = word.partition("=")[0]
        parser.error(f"unknown flag {name}{_did_you_mean(name, options(parser))}")
    return flags


def with_truth(argv: Sequence[str]) -> list[str]:
    """The words, with what the flag that may stand alone is said to be: fleet's own took no word of its own."""
    words: list[str] = []
    for number, word in enumerate(argv):
        if word in ("true", "false") and number and argv[number - 1] == STRICT:
            words[-1] = f"{STRICT}={word}"
        else:
            words.append(f"{STRICT}=true" if word == STRICT else word)
    return words


def _operands(words: Sequence[str]) -> list[str]:
    """What follows "--" are operands, whatever they begin with; argparse loses them among flags."""
    flags, operands = list(words), []
    if "--" in flags:
        index = flags.index("--")
        flags, operands = flags[:index], flags[index + 1 :]
    return flags + [f"{_OPERAND}{word}" if word.startswith("-") else word for word in operands]


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 - only for who has made a slip

    near = difflib.get_close_matches(name[:40], known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def actions(parser: ArgumentParser) -> list[argparse.Action]:
    """Everything the parser takes."""
    return parser._actions  # noqa: SLF001 - argparse has no public way to ask


def options(parser: ArgumentParser) -> list[str]:
    """Every long flag the parser takes, and the global ones."""
    return [option for action in actions(parser) for option in action.option_strings if option.startswith("--")]


def global_parser() -> ArgumentParser:
    """The flags that every command takes, as they may stand before the verb."""
    parser = ArgumentParser("fleetctl", usage="fleetctl [FLAGS] COMMAND …", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true", help="explain fleetctl, or the command before it")
    parser.add_argument("--version", action="store_true", help="print the version")
    _add_globals(parser, hidden=False)
    return parser


def _add_globals(parser: ArgumentParser, *, hidden: bool) -> None:
    """The global flags; after a verb they are hidden from its help and leave alone what stood before it."""
    for flag, metavar, meaning in GLOBALS:
        settings = {"metavar": metavar, "type": _truth if flag == STRICT else str} if metavar else {}
        parser.add_argument(
            flag,
            action="store" if metavar else "store_true",
            default=argparse.SUPPRESS if hidden else None,
            help=argparse.SUPPRESS if hidden else meaning,
            **settings,  # type: ignore[arg-type]
        )


def command_parser(command: Command) -> ArgumentParser:
    """The parser of one verb, with its help."""
    examples = "\n".join(f"  fleetctl {example}" for example in command.examples)
    parser = ArgumentParser(
        f"fleetctl {command.name}",
        description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
        epilog=f"examples:\n{examples}\n{command.notes}\nGlobal flags: fleetctl --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for add in command.flags:
        add(parser)
    _add_globals(parser, hidden=True)
    return parser


def _truth(text: str) -> str:
    if text.lower() not in ("true", "1", "yes", "false", "0", "no"):
        raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")
    return text
