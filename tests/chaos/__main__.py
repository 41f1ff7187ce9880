"""`python -m tests.chaos`: run a campaign on a cluster of its own, print one table; exit status 1: a violation."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from fleettui.demo.cluster import Cluster
from fleettui.demo.requirements import nodes_missing
from tests.chaos.campaign import Campaign
from tests.chaos.diary import Diary, diary_in
from tests.chaos.faults import faketime_library
from tests.chaos.report import table
from tests.chaos.script import Script, compose
from tests.cluster.systems import system_of_nodes

ARTIFACTS = Path(__file__).parent.parent / "artifacts"


def main() -> int:
    """Run it."""
    options = _parser().parse_args()
    missing = nodes_missing() + ([] if faketime_library() else ["libfaketime is missing (package libfaketime)"])
    if missing:
        print(f"chaos: cannot run here: {'; '.join(missing)}", file=sys.stderr)
        return 2
    script = Script.loaded(options.replay.read_text()) if options.replay else compose(options.seed, options.seconds)
    directory = ARTIFACTS / f"chaos-{script.seed}"
    return 0 if campaign(script, options.name, directory) else 1


def campaign(script: Script, name: str, directory: Path) -> bool:
    """Boot a cluster, run a script on it, print the table; whether nothing was violated."""
    cluster = Cluster(name, 3, ttl="5s", members=3, system=system_of_nodes())
    cluster.down()
    with diary_in(directory) as diary:
        (directory / "script.json").write_text(script.dumped())
        seconds = sum(each.seconds for each in script.rounds)
        rounds = f"{len(script.rounds)} rounds, {seconds:.0f} s of faults"
        print(f"seed {script.seed}: {rounds}; diary in {directory}", flush=True)
        try:
            cluster.up()
            survived = _run(cluster, script, diary, directory)
        finally:
            left = cluster.down()
        if left:
            print(f"left on this host: {', '.join(left)}")
        return survived and not left


def _run(cluster: Cluster, script: Script, diary: Diary, directory: Path) -> bool:
    diary.began_s = time.monotonic()
    run = Campaign(cluster, script, diary, directory)
    survived = run.run()
    print(table(script, diary, run.tally, time.monotonic() - diary.began_s))
    if not survived:
        cluster.save_journals(directory)
        print(f"\nthe last that happened:\n{diary.last()}\n\nartifacts in {directory}")
        print(f"again: make chaos ARGS='--replay {directory / 'script.json'}'")
    return survived


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 10_000), help="default: a random one")
    parser.add_argument("--seconds", type=float, default=600, help="how long, about (default: 600)")
    parser.add_argument("--replay", type=Path, help="the script.json of an earlier campaign, cut down or not")
    parser.add_argument("--name", default="chaos", help="the cluster's name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
