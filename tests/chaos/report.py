"""The table at the end of a campaign. Pure."""

from __future__ import annotations

from statistics import median

from tests.chaos.campaign import Tally
from tests.chaos.diary import Diary
from tests.chaos.script import FAULTS, Script


def table(script: Script, diary: Diary, tally: Tally, elapsed_s: float) -> str:
    """Faults by kind, the operator's acts, checks made, violations."""
    rows = [(name, str(diary.faults[name])) for name in FAULTS]
    rows.append(("faults", str(sum(diary.faults.values()))))
    rows.append(("faults that could not be brought about", str(diary.failed_faults)))
    rows += [(f"operator: {verb}", str(count)) for verb, count in sorted(diary.acts.items())]
    settled = f"{median(tally.settled_s):.1f} / {max(tally.settled_s):.1f} s" if tally.settled_s else "-"
    rows += [
        ("operator's acts", str(sum(diary.acts.values()))),
        ("looks at every machine's control groups", str(tally.scans)),
        ("runs of units judged, by their own traces", str(tally.lives)),
        ("turns of rollouts judged", str(tally.turns)),
        ("revisions of the registry judged", str(tally.revisions)),
        ("settled after healing, median / longest", settled),
        ("violations", str(len(diary.violations))),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"seed {script.seed}, {len(script.rounds)} rounds, {elapsed_s:.0f} s", ""]
    lines += [f"{name:<{width}}  {value:>14}" for name, value in rows]
    return "\n".join(lines + [f"  {each}" for each in diary.violations])
