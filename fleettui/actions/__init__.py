"""What an operator does to the fleet: guarded transactions on the registry, shared by the console and `fleetctl`.

Owns the acts and their undoing; draws nothing, prints nothing, and reaches no machine. An act takes an `Operator`
(a registry and a name for the audit trail) and returns a `Done` with one `Outcome` a unit:

    operator = Operator(etcd, Keys.under("/fleet/"))
    done = await start(operator, ["web@1.service", "web@2.service"])
    async for step in watch_progress(follower, [each.name for each in done.outcomes], revision=done.revision):
        ...
    await restore(operator, done.written)  # take it back
"""

from fleettui.actions.disk import Candidate, LocalFile, candidates, read_unit_file
from fleettui.actions.machines import (
    MachineChange,
    cordon,
    drain,
    restore_machine,
    set_availability,
    set_metadata,
    uncordon,
)
from fleettui.actions.operator import Operator, actor
from fleettui.actions.outcome import Did, Done, Outcome
from fleettui.actions.progress import Arrival, Way, judged, watch_progress
from fleettui.actions.reading import expand, find_machine, read_machines, read_texts, read_units, unit_names
from fleettui.actions.resolve import Resolved, resolve
from fleettui.actions.units import (
    Source,
    destroy,
    load,
    restart,
    restore,
    set_target,
    start,
    stop,
    submit,
    unload,
)

__all__ = [
    "Arrival",
    "Candidate",
    "Did",
    "Done",
    "LocalFile",
    "MachineChange",
    "Operator",
    "Outcome",
    "Resolved",
    "Source",
    "Way",
    "actor",
    "candidates",
    "cordon",
    "destroy",
    "drain",
    "expand",
    "find_machine",
    "judged",
    "load",
    "read_machines",
    "read_texts",
    "read_unit_file",
    "read_units",
    "resolve",
    "restart",
    "restore",
    "restore_machine",
    "set_availability",
    "set_metadata",
    "set_target",
    "start",
    "stop",
    "submit",
    "uncordon",
    "unit_names",
    "unload",
    "watch_progress",
]
