"""What a rollout takes, beside the waiting that it cannot do without: a start, and being well for a while."""

from __future__ import annotations

from collections.abc import Iterator

from bench.nodes import OURS, SLEEPER, Nodes, Size, median
from bench.report import Figure

TIMES = 1.5  # of the waiting alone
AT_A_TIME, HEALTHY_S = 10, 2.0
RUNS = 3  # of the reference


def rolled(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """A new file for all instances, ten at a time, beside as many waves of systemd's own start and the waiting."""
    nodes.hold(size.units)
    each = -(-AT_A_TIME // len(nodes.names))
    starts = []
    for _ in range(RUNS):
        with nodes.reference():
            starts.append(nodes.systemctl("start", each))
    waves = -(-size.units // AT_A_TIME)
    alone_s = waves * (median(starts) + HEALTHY_S)
    folder = nodes.directory / "next"
    folder.mkdir(exist_ok=True)
    new = folder / f"{OURS}.service"
    new.write_text(f"# another version\n{SLEEPER}")
    policy = ("--at-a-time", str(AT_A_TIME), "--healthy-for", f"{HEALTHY_S:g}s")
    took_s = nodes.fleetctl("rollout", f"{OURS}*", "--file", str(new), *policy, timeout_s=alone_s * 5)
    yield Figure(
        f"{size.units} instances, another file, {AT_A_TIME} at a time", took_s, "s", TIMES * alone_s, alone_s,
        f"{waves} times: systemctl start of {each} on each node, and {HEALTHY_S:g} s of being well",
    )  # fmt: skip
