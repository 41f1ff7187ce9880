"""The messages of the daemons that a program may wait for, each with an id that never changes. Pure.

journald keeps the id as MESSAGE_ID and the unit as FLEET_UNIT, so that `journalctl MESSAGE_ID=…` finds all messages
of a kind, however they are worded. docs/monitor.md has the table, made from `MESSAGES`. A new kind gets an id of
its own (`systemd-id128 new`); none is ever used again for something else.
"""

from __future__ import annotations

from registry.frozen import dataclass


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A kind of message: its id, who says it, and when."""

    id: str
    said_by: str
    when: str

    def of(self, unit: str = "") -> dict[str, str]:
        """Return what makes a log record one of this kind, about a unit where one is named: its `extra`."""
        return {"message_id": self.id, "fleet_unit": unit}


def about(unit: str) -> dict[str, str]:
    """Return what makes a log record one about a unit, of no kind: its `extra`."""
    return {"fleet_unit": unit}


AGENT, SCHEDULER, BOTH = "agent", "scheduler", "both"

UNIT_LOAD = LogMessage("49c3e7c3d36747e7bf8d565e153fa4e8", AGENT, "it loads a unit into systemd")
UNIT_START = LogMessage("22054c4ce7484766a0e9c1756fe60821", AGENT, "it starts a unit")
UNIT_STOP = LogMessage("255fea85fe0a421bbe5f306659aa1f0c", AGENT, "it stops a unit")
UNIT_UNLOAD = LogMessage("2e43fd113ce9458099df2337a95d06da", AGENT, "it takes a unit out of systemd")
UNIT_FAILED = LogMessage("c3669939f38543eb8f00bc27f5a13785", AGENT, "a task on a unit failed")
UNIT_REFUSED = LogMessage(
    "d8d9d26ae4ee43db8dbf4a8b0c3b4cab", AGENT, "a unit cannot be as it should be on this machine, as things are"
)
JOINED = LogMessage(
    "a751dd6c8b4041a9867080672b9aa3ff", AGENT, "this machine has joined the fleet, or is back in it"
)
LEASE_LOST = LogMessage(
    "96d0eb74831747f8b51043224f40b423", AGENT, "this machine's lease is gone: it counted as lost"
)
REGISTRY_LOST = LogMessage(
    "ae994412b1d749f6892df397a4eaa69c", AGENT, "etcd does not answer, or refuses us; units are kept as they are"
)
REGISTRY_BACK = LogMessage("1822a5c512584bd48b6c5aa9da535fa8", AGENT, "etcd answers again")
UNITS_STOPPED = LogMessage(
    "45277b6134414210bac2ce360d17bc64",
    AGENT,
    'every unit is stopped for want of a lease (on_lost_registry = "stop")',
)
HANDING_OVER = LogMessage("4225479883db48e1bc2befdbc8d9e106", AGENT, "it stops for good and hands its units over")
HANDED_OVER = LogMessage("3927ccfaa4b542a7bd0e83d37d3d68f6", AGENT, "every unit is handed over")
LEADING = LogMessage("738e2c3a773d4889868dfbaa89aa2377", SCHEDULER, "it leads from now on")
NOT_LEADING = LogMessage("e81c4aca5adb4d06b1b916d4de9e151f", SCHEDULER, "it leads no longer")
DECIDED = LogMessage("20e6232c7c4c454c90906bcd3e466420", SCHEDULER, "it has decided something")
MACHINES_AWAITED = LogMessage(
    "9c8cfafd7d164bf3840f44ce6ea0232f", SCHEDULER, "the registry was away: machines get time to come back"
)
MACHINE_LOST = LogMessage(
    "9987d1027f584609a2cd7a6d551ccaf4", SCHEDULER, "a machine's lease has ended: it is lost, and its units move"
)
HISTORY_WENT_BACK = LogMessage(
    "05a6d5e779d5435f99f510d24d77c872",
    BOTH,
    "the registry's history went back (a restored backup): nothing changes",
)
HISTORY_ACCEPTED = LogMessage("edb377db4c244009b3f3b0056406c368", BOTH, "an operator has accepted that history")
ENDPOINT_DOWN = LogMessage("5798941b1307444280a12f1ebef55be8", BOTH, "one of etcd's endpoints does not answer")
ENDPOINT_BACK = LogMessage("5b6b5ea4c2584619913d24cf50de6ab5", BOTH, "that endpoint answers again")
RECORD_CORRUPT = LogMessage("c16efbf705774ffe870f8237a5e2a7ec", BOTH, "a record of the registry does not parse")
METRICS_UNSERVED = LogMessage("aba15e17763c4817b42ce76d8b96ad9c", BOTH, "the port for metrics cannot be used")
ENDED = LogMessage("1664f7e5ad4f4e1e935de374fee96664", BOTH, "it ended by an error")

MESSAGES = {name: each for name, each in list(globals().items()) if isinstance(each, LogMessage)}
