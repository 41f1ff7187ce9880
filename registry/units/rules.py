"""What systemd demands of each unit type, as rules over a parsed file.

Owns the rules by which systemd refuses to load a unit: the `*_verify` functions of its sources and the words
"mandatory" and "required" of its man pages. Each rule yields faults with the line to mend. What
systemd only warns about (unknown options, odd values) passes: its versions differ in that. It must not judge
syntax, names or the fleet options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from registry.units.file import INSTALLS, Directive, Fault, UnitFile
from registry.units.name import QUADLETS, UnitName, escape_path, refusal, shown

OWN_SECTIONS: Mapping[str, str] = {
    "service": "Service",
    "socket": "Socket",
    "timer": "Timer",
    "path": "Path",
    "mount": "Mount",
    "automount": "Automount",
    "swap": "Swap",
    "slice": "Slice",
    "scope": "Scope",
    **{kind: kind.capitalize() for kind in QUADLETS},
}
"""The section of each type that has one; targets and devices have the shared two alone."""

QUADLET_SECTIONS = ("Service", "Quadlet")
"""What a Quadlet may have besides: the options of its service, and how it is made."""

SHARED_SECTIONS = ("Unit", "Install")

_LISTENS = (
    "ListenStream",
    "ListenDatagram",
    "ListenSequentialPacket",
    "ListenFIFO",
    "ListenNetlink",
    "ListenSpecial",
    "ListenMessageQueue",
    "ListenUSBFunction",
)
_ELAPSES = (
    "OnActiveSec",
    "OnBootSec",
    "OnStartupSec",
    "OnUnitActiveSec",
    "OnUnitInactiveSec",
    "OnCalendar",
)
_CLOCK_CHANGES = ("OnClockChange", "OnTimezoneChange")
_PATHS = ("PathExists", "PathExistsGlob", "PathChanged", "PathModified", "DirectoryNotEmpty")
_COMMANDS = frozenset(
    {
        "ExecCondition",
        "ExecReload",
        "ExecStart",
        "ExecStartPost",
        "ExecStartPre",
        "ExecStop",
        "ExecStopPost",
        "ExecStopPre",
    }
)
_COMMAND_PREFIXES = "@-:+!"
_TRUE = frozenset({"1", "yes", "y", "true", "t", "on"})

# Quotes in pairs, with anything but themselves between; a backslash takes the next character along.
_PAIRED_QUOTES = re.compile(r"""(?:[^\\'"]|\\.|'(?:[^\\']|\\.)*+'|"(?:[^\\"]|\\.)*+")*+\\?""", re.DOTALL)
_FIRST_WORD = re.compile(r"""["']?([^\s"']*)""")


def broken_rules(unit: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    """The rules of this unit's type that the file breaks, in no particular order."""
    if rule := _RULES.get(unit.type):
        yield from rule(unit, unit_file)
    # systemd.unit(5), "[INSTALL] SECTION OPTIONS": these hold names of units, else enabling fails.
    for option in INSTALLS:
        for entry in unit_file.effective("Install", option):
            for word in entry.value.replace('"', "").replace("'", "").split():
                if "%" not in word and (found := refusal(word)):
                    yield Fault(entry.line, f"{option}={shown(word)}: {found[0]}", found[1])
    if section := OWN_SECTIONS.get(unit.type):
        for entry in unit_file.section(section):
            if entry.name in _COMMANDS and entry.value:
                yield from _bad_command(entry)


def _service(_: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    """`service_verify`, and systemd.service(5) under Type= and ExecStart=."""
    starts = unit_file.effective("Service", "ExecStart")
    implied = "dbus" if unit_file.value("Service", "BusName") else "simple" if starts else "oneshot"
    kind = unit_file.value("Service", "Type") or implied
    if not starts and unit_file.value("Unit", "SuccessAction") in ("", "none"):
        yield from _startless_service(unit_file, kind)
    if len(starts) > 1 and kind != "oneshot":
        remedy = "keep one, or set Type=oneshot"
        yield Fault(starts[1].line, f"a service of Type={kind} has one ExecStart", remedy)
    if kind == "dbus" and not unit_file.value("Service", "BusName"):
        line = _line_to_mend(unit_file, "Service", "Type")
        yield Fault(line, "a service of Type=dbus needs BusName", "add BusName=, or choose another Type")
    if kind == "oneshot" and (restart := unit_file.value("Service", "Restart")) in ("always", "on-success"):
        line = _line_to_mend(unit_file, "Service", "Restart")
        yield Fault(line, f"Restart={restart} is not for Type=oneshot", "use Restart=on-failure, or another Type")


def _startless_service(unit_file: UnitFile, kind: str) -> Iterator[Fault]:
    line = _line_to_mend(unit_file, "Service", "ExecStart")
    if not unit_file.effective("Service", "ExecStop"):
        yield Fault(line, "the service has no ExecStart", "add ExecStart=/path/to/program under [Service]")
    elif kind != "oneshot":
        yield Fault(line, f"a service of Type={kind} needs ExecStart", "add it, or set Type=oneshot")
    elif not _is_true(unit_file.value("Service", "RemainAfterExit")):
        yield Fault(line, "a service with ExecStop alone ends at once", "add ExecStart, or RemainAfterExit=yes")


def _socket(_: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    if not unit_file.effective("Socket", *_LISTENS):
        line = _line_to_mend(unit_file, "Socket", *_LISTENS)
        yield Fault(line, "the socket listens on nothing", "add ListenStream= or another Listen option")


def _timer(_: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    if unit_file.effective("Timer", *_ELAPSES):
        return
    if not any(_is_true(unit_file.value("Timer", name)) for name in _CLOCK_CHANGES):
        line = _line_to_mend(unit_file, "Timer", *_ELAPSES)
        yield Fault(line, "the timer never elapses", "add OnCalendar= or another On option")


def _path(_: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    if not unit_file.effective("Path", *_PATHS):
        line = _line_to_mend(unit_file, "Path", *_PATHS)
        yield Fault(line, "the path unit watches nothing", "add PathExists=, PathChanged= or another of its kind")


def _mount(unit: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    if not unit_file.value("Mount", "What"):
        yield _missing(unit_file, "Mount", "What", "a device or a remote directory")
    yield from _where(unit, unit_file, "Mount")


def _automount(unit: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    yield from _where(unit, unit_file, "Automount")


def _swap(unit: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    if not unit_file.value("Swap", "What"):
        yield _missing(unit_file, "Swap", "What", "a device or a file")
    yield from _misnamed(unit, unit_file, "Swap", "What")


def _where(unit: UnitName, unit_file: UnitFile, section: str) -> Iterator[Fault]:
    where = unit_file.value(section, "Where")
    if not where:
        yield _missing(unit_file, section, "Where", "the directory to mount on")
    elif not where.startswith(("/", "%")):
        line = _line_to_mend(unit_file, section, "Where")
        yield Fault(line, f"Where={shown(where)} is no absolute path", "begin it with /")
    yield from _misnamed(unit, unit_file, section, "Where")


def _misnamed(unit: UnitName, unit_file: UnitFile, section: str, option: str) -> Iterator[Fault]:
    """Mounts, automounts and swaps are named after their path. A path with specifiers is left to systemd."""
    path = unit_file.value(section, option)
    if path.startswith("/") and "%" not in path and escape_path(path) != unit.stem:
        line = _line_to_mend(unit_file, section, option)
        name = f"{escape_path(path)}.{unit.type}"
        yield Fault(
            line, f"{option}={shown(path)} does not fit the name {unit.full}", f"call the file {shown(name)}"
        )


def _missing(unit_file: UnitFile, section: str, option: str, what: str) -> Fault:
    line = _line_to_mend(unit_file, section, option)
    return Fault(line, f"the unit has no {option}", f"add {option}= with {what} under [{section}]")


def _line_to_mend(unit_file: UnitFile, section: str, *options: str) -> int:
    """The last line that sets, or empties, one of the options; else the section's header."""
    lines = [entry.line for entry in unit_file.section(section) if entry.name in options]
    return lines[-1] if lines else unit_file.line_of(section)


def _bad_command(entry: Directive) -> Iterator[Fault]:
    """Command lines that systemd drops as "bad unit file setting", and then refuses to start the unit."""
    command = entry.value.lstrip(_COMMAND_PREFIXES).lstrip()
    program = match[1] if (match := _FIRST_WORD.match(command)) else ""
    if not program and not command:
        yield Fault(entry.line, f"{entry.name} has a prefix and no program", "name the program to run")
    elif "/" in program and not program.startswith(("/", "%")):
        reason = f"{entry.name} runs {shown(program)}, which is neither absolute nor a bare name"
        yield Fault(entry.line, reason, "begin the path with /")
    elif program.endswith("/"):
        yield Fault(entry.line, f"{entry.name} runs {shown(program)}, a directory", "name the program to run")
    if not _PAIRED_QUOTES.fullmatch(entry.value):
        yield Fault(entry.line, f"{entry.name} has a quote without its partner", "close it, or write \\' or \\\"")


def _quadlet(unit: UnitName, unit_file: UnitFile) -> Iterator[Fault]:
    """podman-systemd.unit(5): what each kind must have. What else its options say, Podman's generator judges."""
    section = OWN_SECTIONS[unit.type]
    if not any(header.name == section for header in unit_file.sections):
        yield Fault(1, f"a {unit.type} needs a section [{section}]", "add it")
    for names in _NEEDED.get(unit.type, ()):
        if not any(unit_file.value(section, name) for name in names):
            line = _line_to_mend(unit_file, section, *names)
            yield Fault(line, f"the {unit.type} has no {' or '.join(names)}", f"add {names[0]}= under [{section}]")
    for entry in unit_file.options(section, "ServiceName"):
        reason = "ServiceName gives the service another name than the fleet follows"
        yield Fault(entry.line, reason, "leave it out, and name the file as the service is to be called")


def _is_true(value: str) -> bool:
    return value.lower() in _TRUE


_RULES: Mapping[str, Callable[[UnitName, UnitFile], Iterator[Fault]]] = {
    "service": _service,
    "socket": _socket,
    "timer": _timer,
    "path": _path,
    "mount": _mount,
    "automount": _automount,
    "swap": _swap,
    **dict.fromkeys(QUADLETS, _quadlet),
}
_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "container": (("Image", "Rootfs"),),
    "kube": (("Yaml",),),
    "image": (("Image",),),
    "build": (("ImageTag",), ("File", "SetWorkingDirectory")),
}
