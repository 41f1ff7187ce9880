"""What an operator does to the fleet: guarded transactions on the registry, shared by the console and `fleetctl`.

Owns the acts and their undoing; draws nothing, prints nothing, and reaches no machine. An act takes an `Operator`
(a registry and a name for the audit trail) and returns a `Done` with one `Outcome` a unit:

    operator = Operator(etcd, Keys.under("/fleet/"))
    done = await units.start(operator, ["web@1.service", "web@2.service"])
    async for step in watch_progress(follower, [each.name for each in done.outcomes], revision=done.revision):
        ...
    await units.restore(operator, done.written)  # take it back

    operator   who acts; the guarded transaction     units      submit, load, start, stop, …, restore
    reading    what acts read first; globs           machines   cordon, drain, uncordon, metadata
    disk       unit files on the operator's disk     outcome    what came of an act
    resolve    where a unit's text comes from        progress   waiting for units to arrive

Nothing is re-exported: a listing must not pay for what an act needs.
"""
