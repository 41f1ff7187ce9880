"""Shell completion: the scripts, and the hidden verb that they ask for candidates.

What a word may become, `operands` says. Names that live in the registry are asked for live, briefly: completion
must never hang a shell or print an error, so whatever goes wrong completes nothing. Paths are found by the shell:
where they are wanted, the last line says so, in a word that no name can be.
"""

from __future__ import annotations

import asyncio
import os
import re
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fleettui.cli.arguments import parse
from fleettui.cli.commands import BY_NAME
from fleettui.cli.failures import OK
from fleettui.cli.operands import NameKind, wanted
from registry.errors import FleetError

if TYPE_CHECKING:
    from fleettui.actions.operator import Operator

REQUEST_TIMEOUT = "1s"
LIMIT_S = 1.5
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*")  # what unit and host names are made of

BASH = """\
_fleetctl() {
    local cur line="${COMP_LINE:0:COMP_POINT}" before=() i paths=
    COMPREPLY=()
    IFS=$' \\t\\n' read -ra before <<< "$line"
    [[ "$line" == *[[:space:]] ]] && before+=("")
    cur="${before[-1]}"
    local found=()
    mapfile -t found < <(fleetctl __complete -- "${before[@]:1}" 2>/dev/null)
    if (( ${#found[@]} )) && [[ "${found[-1]}" == :* ]]; then paths="${found[-1]}"; unset "found[-1]"; fi
    if [[ -n "$paths" ]]; then
        local flag="" each
        [[ "$cur" == --*=* ]] && flag="${cur%%=*}="
        while IFS= read -r each; do found+=("$flag$each"); done \\
            < <(compgen "$([[ "$paths" == :folders ]] && echo -d || echo -f)" -- "${cur#"$flag"}")
        compopt -o filenames 2>/dev/null
    else
        # What is put on the command line is read by the shell: quoted, it is but a word.
        for i in "${!found[@]}"; do
            [[ "${found[i]}" == *[!A-Za-z0-9_.:@=,-]* ]] && printf -v "found[i]" %q "${found[i]}"
        done
    fi
    # bash completes only what follows the last colon or equals sign of a word.
    local head="${cur%"${cur##*[:=]}"}"
    for i in "${!found[@]}"; do COMPREPLY[i]="${found[i]#"$head"}"; done
}
complete -F _fleetctl fleetctl
"""
ZSH = """\
#compdef fleetctl
_fleetctl() {
    local -a found
    local paths
    found=("${(@f)$(fleetctl __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ "${found[-1]}" == :* ]] && { paths="${found[-1]}"; found[-1]=() }
    (( ${#found[1]} )) && compadd -- "${found[@]}"
    [[ -n "$paths" ]] && compset -P '--*='
    case "$paths" in
        (:files) _files ;;
        (:folders) _files -/ ;;
    esac
}
if [[ "${funcstack[1]}" = _fleetctl ]]; then _fleetctl "$@"; else compdef _fleetctl fleetctl; fi
"""
FISH = """\
function __fleetctl_complete
    set -l words (commandline -opc) (commandline -ct)
    for each in (fleetctl __complete -- $words[2..-1] 2>/dev/null)
        switch $each
            case ':files' ':folders'
                set -l flag (string match -r -- '^--[^=]*=' $words[-1])
                test -n "$flag"; or set flag ''
                for path in (__fish_complete_path (string replace -r -- '^--[^=]*=' '' $words[-1]))
                    printf '%s\\n' $flag$path
                end
            case '*'
                printf '%s\\n' $each
        end
    end
end
complete -c fleetctl -f -a '(__fleetctl_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(flags: Namespace) -> int:
    """Print a shell's completion script."""
    print(SCRIPTS[flags.shell], end="")
    return OK


async def complete(flags: Namespace) -> int:
    """Print the candidates for the last of the words, one a line, then whether paths are wanted.

    Nothing when anything goes wrong.
    """
    words = (flags.words[1:] if flags.words[:1] == ["--"] else flags.words) or [""]
    found = wanted(words)
    known = [*found.rule.words]
    try:
        async with asyncio.timeout(LIMIT_S):
            known += await _live(words, found.rule.names)
    except (FleetError, OSError, TimeoutError):
        pass
    for each in known:
        if (whole := found.stem + each).startswith(words[-1]):
            print(whole)
    if found.rule.paths:
        print(found.rule.paths)
    return OK


async def _live(words: Sequence[str], kinds: Sequence[NameKind]) -> list[str]:
    """The names of these kinds that the registry has, as the flags before the verb lead to it."""
    if not kinds:
        return []
    from fleettui.cli.connection import open_operator, read_settings  # noqa: PLC0415 - words and paths do without

    at = next(index for index, word in enumerate(words) if word in BY_NAME)
    _, flags = parse([*words[:at], "list-machines"])
    flags.request_timeout = REQUEST_TIMEOUT
    async with open_operator(read_settings(flags, os.environ), warn=False) as operator:
        return plain([name for kind in kinds for name in await _names(operator, kind)])


async def _names(operator: Operator, kind: NameKind) -> Sequence[str]:
    from fleettui.actions.reading import names_in, read_machines  # noqa: PLC0415 - the same
    from registry.keys import Table  # noqa: PLC0415 - the same
    from registry.units.name import parse as parse_name  # noqa: PLC0415 - the same

    match kind:
        case NameKind.MACHINE:
            machines, *_ = await read_machines(operator)
            return [*machines, *(each.hostname for each in machines.values())]
        case NameKind.UNIT:
            return await names_in(operator, Table.UNITS)
        case NameKind.TEMPLATE:
            return [each for each in await names_in(operator, Table.UNITS) if parse_name(each).is_template]
        case NameKind.ROLLOUT:
            return await names_in(operator, Table.ROLLOUTS)
        case NameKind.CONFIG:
            return await names_in(operator, Table.CONFIG)
        case NameKind.SECRET:
            return await names_in(operator, Table.SECRETS)


def plain(names: Iterable[str]) -> list[str]:
    """Those that are one word of letters that no shell and no terminal obeys, each once, sorted.

    Names come from the registry, and what is completed is put on the user's command line.
    """
    return sorted({name for name in names if _PLAIN.fullmatch(name)})
