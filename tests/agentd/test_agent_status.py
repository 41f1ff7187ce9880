"""What the agent says of itself: never registered while it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.pure.agent_status import AgentStatus, status_line
from registry.etcd.health import EtcdTrouble
from registry.sync.follow import ConnectionState

NOON = 1_800_000_000.0
IN_ORDER = AgentStatus(
    "f" * 32, "core-1", "agent", registered=NOON, place="registered as f", schedule=ConnectionState.LIVE
)


def test_in_order_it_says_as_whom_and_since_when() -> None:
    assert status_line(IN_ORDER).startswith(f"registered as core-1 ({'f' * 32}) since 2027-01-15 ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"away": EtcdTrouble(NOON, "http://a timed out")}, "registry does not answer since 2027-01-15 "),
        ({"away": EtcdTrouble(NOON, "http://a timed out")}, "units are kept as they are (http://a timed out)"),
        ({"denied": EtcdTrouble(NOON, "wrong password")}, "denied as agent since 2027-01-15 "),
        ({"user": "", "denied": EtcdTrouble(NOON, "user name is empty")}, "denied as nobody (no user "),
        ({"registered": 0.0, "place": "machine id f is in use by core-2"}, "machine id f is in use by core-2"),
        ({"schedule": ConnectionState.FOREIGN, "schedule_reason": "another's"}, "the registry is not this fleet's"),
        (
            {"schedule": ConnectionState.LOST, "schedule_reason": "cut"},
            "but its schedule cannot be read; units are kept",
        ),
        ({"systemd_away": NOON}, "waiting for systemd since 2027-01-15 "),
        ({"parked": NOON, "away": EtcdTrouble(NOON, "-")}, "every unit is stopped since 2027-01-15 "),
        ({"leaving": NOON, "units": 1}, "handing 1 unit over since 2027-01-15 "),
        ({"held": "history went back"}, "holding every unit as it is: history went back; registered as"),
        ({"endpoints": "2 of 3 etcd endpoints answer: b does not"}, "; 2 of 3 etcd endpoints answer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(changes: dict[str, Any], told: str) -> None:
    assert told in status_line(replace(IN_ORDER, **changes))


trouble = st.none() | st.builds(EtcdTrouble, st.just(NOON), st.just("why"))
times = st.sampled_from([0.0, NOON])


@given(
    st.builds(
        AgentStatus,
        machine=st.just("f"),
        hostname=st.just("core-1"),
        systemd_away=times,
        leaving=times,
        units=st.integers(0, 3),
        parked=times,
        held=st.sampled_from(["", "why"]),
        registered=times,
        place=st.just("connecting to the registry"),
        away=trouble,
        denied=trouble,
        schedule=st.sampled_from(ConnectionState),
        endpoints=st.just(""),
    )
)
def test_it_is_registered_only_while_the_registry_answers_and_takes_us(standing: AgentStatus) -> None:
    line = status_line(standing)
    assert line
    if "registered as" in line:
        assert standing.registered
        assert standing.away is standing.denied is None
        assert standing.schedule is not ConnectionState.FOREIGN
    if standing.parked or standing.leaving:
        assert "kept as they are" not in line
