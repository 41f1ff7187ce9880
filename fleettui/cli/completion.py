"""Shell completion: the scripts, and the hidden verb that they ask for candidates.

Candidates that live in the registry are asked for live, briefly: completion must never hang a shell or print an
error, so whatever goes wrong completes nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
from argparse import Namespace
from collections.abc import Iterable, Sequence

from fleettui.cli.arguments import BY_NAME, SHOWN, Command, command_parser, global_parser, options, parse
from fleettui.cli.failures import OK
from registry.errors import FleetError

REQUEST_TIMEOUT = "1s"
LIMIT_S = 1.5
FILES = " ".join(each.name for each in SHOWN if each.takes("FILE"))
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*")  # what unit and host names are made of

BASH = """\
_fleetctl() {
    local cur line="${COMP_LINE:0:COMP_POINT}" before=() i
    COMPREPLY=()
    IFS=$' \\t\\n' read -ra before <<< "$line"
    [[ "$line" == *[[:space:]] ]] && before+=("")
    cur="${before[-1]}"
    local found=()
    mapfile -t found < <(fleetctl __complete -- "${before[@]:1}" 2>/dev/null)
    if [[ " @FILES@ " == *" ${before[1]} "* ]]; then
        mapfile -t -O "${#found[@]}" found < <(compgen -f -- "$cur"); compopt -o filenames 2>/dev/null
    else
        # What is put on the command line is read by the shell: quoted, it is but a word.
        for i in "${!found[@]}"; do printf -v "found[i]" %q "${found[i]}"; done
    fi
    # bash completes only what follows the last colon of a word.
    local colon="${cur%"${cur##*:}"}"
    for i in "${!found[@]}"; do COMPREPLY[i]="${found[i]#"$colon"}"; done
}
complete -F _fleetctl fleetctl
""".replace("@FILES@", FILES)
ZSH = """\
#compdef fleetctl
_fleetctl() {
    local -a found
    found=("${(@f)$(fleetctl __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    (( ${#found[1]} )) && compadd -- "${found[@]}"
    [[ " @FILES@ " == *" ${words[2]} "* ]] && _files
}
if [[ "${funcstack[1]}" = _fleetctl ]]; then _fleetctl "$@"; else compdef _fleetctl fleetctl; fi
""".replace("@FILES@", FILES)
FISH = """\
function __fleetctl_complete
    set -l words (commandline -opc) (commandline -ct)
    fleetctl __complete -- $words[2..-1] 2>/dev/null
end
complete -c fleetctl -n 'not __fish_seen_subcommand_from @FILES@' -f
complete -c fleetctl -a '(__fleetctl_complete)'
""".replace("@FILES@", FILES)
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(flags: Namespace) -> int:
    """Print a shell's completion script."""
    print(SCRIPTS[flags.shell], end="")
    return OK


async def complete(flags: Namespace) -> int:
    """Print the candidates for the last of the words, one a line; nothing when anything goes wrong."""
    words = flags.words[1:] if flags.words[:1] == ["--"] else flags.words
    try:
        async with asyncio.timeout(LIMIT_S):
            found = await candidates(words or [""])
    except (FleetError, OSError, TimeoutError):
        return OK
    for each in found:
        print(each)
    return OK


async def candidates(words: Sequence[str]) -> list[str]:
    """What the last word may become."""
    *before, word = words
    verb = next((BY_NAME[each] for each in before if each in BY_NAME), None)
    if verb is None:
        known = options(global_parser()) if word.startswith("-") else [each.name for each in SHOWN]
    elif word.startswith("-"):
        known = [each for each in options(command_parser(verb)) if each != "--"]
    else:
        known = await _live(verb, before)
    return [each for each in known if each.startswith(word)]


async def _live(verb: Command, before: Sequence[str]) -> list[str]:
    flag = before[-1] if before else ""
    if verb.name in ("completion", "help"):
        return [*SCRIPTS] if verb.name == "completion" else [each.name for each in SHOWN]
    machines = flag == "--machine" or ((verb.takes("MACHINE") or verb.name == "ssh") and flag != "--unit")
    units = flag == "--unit" or verb.takes("UNIT")
    if not machines and not units:
        return []
    from fleettui.actions.reading import read_machines, unit_names  # noqa: PLC0415 - verbs and flags do without
    from fleettui.cli.connection import open_operator, read_settings  # noqa: PLC0415 - the same

    at = next(index for index, word in enumerate(before) if word in BY_NAME)
    _, flags = parse([*before[:at], "list-machines"])  # with the flags before the verb
    flags.request_timeout = REQUEST_TIMEOUT
    async with open_operator(read_settings(flags, os.environ), warn=False) as operator:
        if not machines:
            return plain(await unit_names(operator))
        known, *_ = await read_machines(operator)
        return plain([*known, *(each.hostname for each in known.values())])


def plain(names: Iterable[str]) -> list[str]:
    """Those that are one word of letters that no shell and no terminal obeys, each once, sorted.

    Names come from the registry, and what is completed is put on the user's command line.
    """
    return sorted({name for name in names if _PLAIN.fullmatch(name)})
