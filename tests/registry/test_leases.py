"""Records that live under a lease: none is written without, and one found without is somebody's for a while."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import LeaseLost
from registry.etcd import Compare, Etcd, EtcdSettings, Op
from registry.keys import Keys
from registry.leases import LONGEST_S, MARGIN_S, Unleased, grace_s, leader_grace_s
from registry.program.config import EtcdTable
from tests.etcd_server import EtcdServer

LEASED = ("machines/m", "states/m/a.service", "duplicates/m/boot", "usage/m", "leader")
FREE = (
    "cluster",
    "files/abc",
    "units/a.service",
    "schedule/m/a.service",
    "pending/a.service",
    "overrides/m",
    "events/1",
)


@pytest.mark.etcd
@pytest.mark.parametrize("name", LEASED)
async def test_no_program_writes_a_leased_record_without_a_lease(
    either: EtcdServer, prefix: str, name: str
) -> None:
    key = Keys.under(prefix).prefix + name
    async with Etcd(EtcdTable(endpoints=either.endpoints, prefix=prefix).client_settings()) as client:
        with pytest.raises(LeaseLost, match=name):
            await client.put(key, b"{}")
        for then, orelse in (([Op.put(key, b"{}")], [Op.get(key)]), ([Op.get(key)], [Op.put(key, b"{}", 0)])):
            with pytest.raises(LeaseLost, match="nothing was written"):
                await client.txn([Compare.absent(key)], then, orelse)
        assert await client.get(key) is None
        lease = await client.lease_grant(60)
        await client.txn([Compare.absent(key)], [Op.put(key, b"{}", lease)])
        assert await client.put(key, b"{}", lease)
        await client.txn([], [Op.delete(key)])


@pytest.mark.etcd
@pytest.mark.parametrize("name", FREE)
async def test_a_record_that_outlives_its_writer_needs_no_lease(either: EtcdServer, prefix: str, name: str) -> None:
    async with Etcd(EtcdTable(endpoints=either.endpoints, prefix=prefix).client_settings()) as client:
        assert await client.put(Keys.under(prefix).prefix + name, b"{}")


def test_a_key_is_nobody_s_only_when_it_was_without_a_lease_and_unchanged_for_the_whole_grace() -> None:
    found = Unleased()
    found.update("k", (1, 1, 0), now=0.0, within_s=grace_s(4.0))
    assert not found.overdue(grace_s(4.0) - 0.1)
    found.update("k", (1, 2, 0), now=10.0, within_s=grace_s(4.0))  # written again
    assert not found.overdue(10.0 + grace_s(4.0) - 0.1)
    assert found.overdue(10.0 + grace_s(4.0)) == [("k", 2)]
    found.update("k", (1, 3, 77), now=30.0, within_s=1.0)
    assert not found.overdue(1e9)
    found.update("gone", (1, 1, 0), now=0.0, within_s=1.0)
    found.keep(set())
    assert not found.overdue(1e9)


stamps = st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 5]))


@given(st.lists(st.tuples(st.sampled_from("ab"), stamps, st.floats(0, 20)), max_size=20), st.floats())
def test_what_has_a_lease_or_is_gone_is_never_overdue(
    seen: list[tuple[str, tuple[int, int, int] | None, float]], ttl_s: float
) -> None:
    found, now, last = Unleased(), 0.0, {}
    for key, stamp, step in seen:
        now += step
        found.update(key, stamp, now, grace_s(ttl_s))
        last[key] = stamp
    overdue = dict(found.overdue(now + 3 * LONGEST_S + MARGIN_S))
    assert overdue == {key: stamp[1] for key, stamp in last.items() if stamp and not stamp[2]}


def test_settings_without_a_prefix_guard_nothing() -> None:
    assert replace(EtcdSettings()).leased == ()


def test_a_leader_gets_one_lease_since_it_watches_its_key() -> None:
    assert leader_grace_s(5.0) == 5.0 + MARGIN_S < grace_s(5.0)
