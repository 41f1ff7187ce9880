"""Unit names: their grammar, the parts of a name, specifiers, and globs over names.

Owns what a unit may be called and what a text means once it is read for one unit. The grammar is
systemd's (`systemd.unit(5)`, "String Escaping" and "Unit File Load Path"). It knows no file and no
registry; every function is a value from values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache

from registry.errors import UserError
from registry.frozen import dataclass
from registry.patterns import pattern

QUADLETS = {
    "container": "",
    "kube": "",
    "pod": "-pod",
    "volume": "-volume",
    "network": "-network",
    "image": "-image",
    "build": "-build",
}
"""The kinds of Podman's Quadlets, without the dot, and what is added to the name of the service made of each."""

TYPES = (
    "service",
    "socket",
    "timer",
    "path",
    "mount",
    "automount",
    "device",
    "swap",
    "target",
    "slice",
    "scope",
    *QUADLETS,
)
"""Every type of unit, without the dot: those that systemd knows, and Quadlets, of which services are made."""

TEMPLATE_TYPES = frozenset({"service", "socket", "timer", "path", "target", "container", "kube"})
"""The types that may have an "@": systemd loads no template or instance of any other."""

MAX_LENGTH = 255
"""Characters in a name: systemd's limit of 256 counts the closing NUL, and a file name ends at 255 too."""

MAX_SHOWN = 4096
"""Characters of a text for display in which specifiers are replaced."""

DEFAULT_SUFFIX = ".service"

_SUFFIXES = tuple(f".{kind}" for kind in TYPES)
_FOREIGN = pattern(r"[^A-Za-z0-9:_.\\@-]")
_FOREIGN_IN_GLOB = pattern(r"[^A-Za-z0-9:_.\\@*?\[\]!^-]")
_GLOB_GRAMMAR = pattern(r"(?:[A-Za-z0-9:_.\\@*?-]|\[[!^]?[A-Za-z0-9:_.\\@-]++\])++")
_GLOB = pattern(r"[*?\[]")
_SPECIFIER = pattern(r"%(.?)", re.DOTALL)
_ESCAPED = pattern(r"\\x([0-9a-fA-F]{2})")
_SPECIAL_IN_PATH = pattern(r"[^0-9A-Za-z:_.]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class UnitName:
    """A valid unit name in parts.

    `web@1.service` has the prefix "web", the instance "1" and the type "service". The instance is ""
    for a template (`web@.service`) and None for a plain name; a plain name's prefix is all before the type.
    """

    full: str
    prefix: str
    instance: str | None
    type: str

    @property
    def is_template(self) -> bool:
        """True for `web@.service`: known to the registry, never placed itself."""
        return self.instance == ""

    @property
    def is_instance(self) -> bool:
        """True for `web@1.service`."""
        return bool(self.instance)

    @property
    def template(self) -> str | None:
        """The template's name for an instance or a template, None for a plain name."""
        return None if self.instance is None else f"{self.prefix}@.{self.type}"

    @property
    def stem(self) -> str:
        """The name without its type: `web@1` for `web@1.service`."""
        return self.full[: -len(self.type) - 1]

    def with_instance(self, instance: str) -> UnitName:
        """The named instance of this template, or of this instance's template; UserError when it is no name."""
        return parse(f"{self.prefix}@{instance}.{self.type}")


def service_of(name: str) -> str:
    """What systemd calls the unit: its name, or that of the service which Podman's generator makes of a Quadlet.

    `web.container` is `web.service` there, `data.volume` is `data-volume.service` (podman-systemd.unit(5)). This is
    the only place that knows.
    """
    stem, _, kind = name.rpartition(".")
    return name if kind not in QUADLETS else f"{stem}{QUADLETS[kind]}.service"


def is_quadlet(name: str) -> bool:
    """Whether the file is read by Podman's generator, and not by systemd."""
    return name.rpartition(".")[2] in QUADLETS


def rivals(name: str) -> tuple[str, ...]:
    """The other names of units that systemd would have under the same name: of two of them only one can be."""
    service = service_of(name)
    if not service.endswith(DEFAULT_SUFFIX):
        return ()
    stem = service.removesuffix(DEFAULT_SUFFIX)
    made = (f"{stem.removesuffix(end)}.{kind}" for kind, end in QUADLETS.items() if stem.endswith(end))
    found = (service, *(each for each in made if not refusal(each)))
    return tuple(each for each in found if each != name)


def normalise(name: str) -> str:
    """The name with `.service` added when it ends in no known type; it is not validated."""
    return name if name.endswith(_SUFFIXES) else name + DEFAULT_SUFFIX


def normalise_pattern(pattern: str) -> str:
    """A glob unchanged, anything else as `normalise` does it."""
    return pattern if is_glob(pattern) else normalise(pattern)


def refusal(name: str) -> tuple[str, str] | None:
    """Why this is no unit name and what to do about it, as (reason, remedy); None for a valid name."""
    if len(name) > MAX_LENGTH:
        reason = f"unit name {shown(name)} has {len(name)} characters"
        return reason, f"use at most {MAX_LENGTH}, the type included"
    if foreign := _FOREIGN.search(name):
        reason = f"unit name {shown(name)} contains {foreign[0]!r}"
        return reason, r"use letters, digits and : _ . \ @ - only (systemd-escape makes such names)"
    if not name.endswith(_SUFFIXES):
        return f"unit name {shown(name)} ends in no unit type", f"end it in one of {', '.join(_SUFFIXES)}"
    stem, _, kind = name.rpartition(".")
    prefix, at, _ = stem.partition("@")
    if not prefix:
        return f"unit name {shown(name)} has nothing before its {at or '.' + kind}", "put a name there"
    if at and kind not in TEMPLATE_TYPES:
        kinds = ", ".join(sorted(TEMPLATE_TYPES))
        reason = f"unit name {shown(name)} has an @, but systemd has no templates of type {kind}"
        return reason, f"drop the @ (templates are for {kinds})"
    return None


def check(name: str) -> None:
    """Raise UserError, with the reason and the remedy, unless this is a complete and valid unit name."""
    if found := refusal(name):
        raise UserError("; ".join(found))


def parse(name: str) -> UnitName:
    """The parts of a complete name. UserError when `check` refuses it."""
    check(name)
    stem, _, kind = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    return UnitName(name, prefix, instance if at else None, kind)


def expand(text: str, name: str) -> str:
    """The text of an `[X-Fleet]` option with `%n %N %p %i %%` replaced for this unit.

    Any other specifier, and a lone `%` at the end, is a UserError: fleet resolves these options before a machine
    is chosen, so what systemd could say about a machine is not known yet.
    """
    if "%" not in text:
        return text
    meaning = _meanings(parse(name))

    def replace(match: re.Match[str]) -> str:
        if (value := meaning.get(match[1])) is None:
            raise UserError(
                f"unknown specifier {match[0]!r} in {shown(text)}; use %n %N %p %i, or %% for a percent sign"
            )
        return value

    return _SPECIFIER.sub(replace, text)


def named_by(word: str, name: str) -> str:
    """The unit that a word of the file of `name` names; what is longer than any name is cut, and names none."""
    return expand_for_display(word[: 2 * MAX_LENGTH], name)[: MAX_LENGTH + 1]


def expand_for_display(text: str, name: str) -> str:
    """The text with every specifier replaced that follows from the name alone; others stay as written.

    Of a text longer than MAX_SHOWN only the beginning: one specifier may become 255 characters.
    """
    if "%" not in text:
        return text
    text = text[:MAX_SHOWN]
    unit = parse(name)
    meaning = _meanings(unit) | {
        "I": unescape(unit.instance or ""),
        "P": unescape(unit.prefix),
        "j": unit.prefix.rpartition("-")[2],
        "J": unescape(unit.prefix.rpartition("-")[2]),
    }
    return _SPECIFIER.sub(lambda match: meaning.get(match[1], match[0]), text)


def _meanings(unit: UnitName) -> dict[str, str]:
    return {"n": unit.full, "N": unit.stem, "p": unit.prefix, "i": unit.instance or "", "%": "%"}


def escape_path(path: str) -> str:
    """A path as `systemd-escape --path` writes it: `/var/lib/a-b` gives `var-lib-a\\x2db`."""
    parts = [part for part in path.split("/") if part]
    escaped = "-".join(
        _SPECIAL_IN_PATH.sub(
            lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape")), part
        )
        for part in parts
    )
    return "\\x2e" + escaped[1:] if escaped.startswith(".") else escaped or "-"


def unescape(text: str) -> str:
    """What `systemd-escape --unescape` makes of a part of a name; bytes that are no UTF-8 are replaced."""
    slashed = text.replace("-", "/")
    raw = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), slashed)
    return raw if raw == slashed else raw.encode("latin-1", "replace").decode("utf-8", "replace")


def is_glob(text: str) -> bool:
    """True when the text holds `*`, `?` or `[`, none of which a unit name can."""
    return _GLOB.search(text) is not None


def is_literal(text: str) -> bool:
    """True when the text can name one unit only."""
    return not is_glob(text)


def matches(pattern: str, name: str) -> bool:
    """Whether the unit name matches the pattern: `*`, `?`, `[a-z]`, `[^a-z]` or `[!a-z]`; the rest is literal.

    fleet's rule (Go's `path.Match`), save that a backslash means itself, as in `systemctl`: names are full
    of `\\x2d`, and no glob character ever needs an escape in one. A pattern that `glob_refusal` refuses
    matches nothing.
    """
    return bool(matcher(pattern)(name))


@lru_cache(maxsize=1 << 15)
def matcher(pattern: str) -> Callable[[str], object]:
    """Return what tells, by a value that is true, that a name matches the pattern: `matches` for many names."""
    if is_literal(pattern):
        return pattern.__eq__
    if pattern.endswith("*") and is_literal(pattern[:-1]):
        return lambda name: name.startswith(pattern[:-1])  # the usual glob, without the price of a compilation
    if glob_refusal(pattern):
        return lambda _: None
    if is_literal(pattern.replace("*", "")):
        return _between_stars(pattern)
    return _compiled(pattern)


def _between_stars(pattern: str) -> Callable[[str], object]:
    """Match a glob with stars alone, as fast as an expression does, without the price of its compilation."""
    head, *between, tail = pattern.split("*")
    inner = [part for part in between if part]
    least = len(head) + len(tail) + sum(map(len, inner))

    def match(name: str) -> bool:
        if len(name) < least or not (name.startswith(head) and name.endswith(tail)):
            return False
        position, end = len(head), len(name) - len(tail)
        for part in inner:
            if (found := name.find(part, position, end)) < 0:
                return False
            position = found + len(part)
        return True

    return match


def _compiled(pattern: str) -> Callable[[str], object]:
    """Match a glob by a regular expression, which is compiled when a name is first compared with it."""
    matching: Callable[[str], object] | None = None

    def match(name: str) -> object:
        nonlocal matching
        if matching is None:
            # translate() uses atomic groups, so that no pattern takes more than linear time a star.
            matching = re.compile(translate(pattern.replace("[^", "[!"))).match
        return matching(name)

    return match


def glob_refusal(pattern: str) -> tuple[str, str] | None:
    """Why this glob can match no unit name, as (reason, remedy); None when it is fine."""
    if len(pattern) > MAX_LENGTH:
        return f"pattern {shown(pattern)} has {len(pattern)} characters", f"use at most {MAX_LENGTH}"
    if foreign := _FOREIGN_IN_GLOB.search(pattern):
        return f"pattern {shown(pattern)} contains {foreign[0]!r}", "no unit name does; remove it"
    if not _GLOB_GRAMMAR.fullmatch(pattern):
        return f"pattern {shown(pattern)} has a bracket that is no class", "write [abc], [a-z] or [^a-z]"
    return None


def shown(text: str, limit: int = 60) -> str:
    """Untrusted text, quoted, escaped and cut, so that it is safe in a one-line message."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")
