"""Both kinds of etcd for the tests of the client: the real one, and the simulated one that has to be like it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest

from registry.etcd import Etcd, EtcdSettings
from tests.etcd_server import SIMULATED, EtcdServer, etcd_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of the blocking door against real servers only: the simulated one is reached by aiohttp."""
    items[:] = [
        each for each in items if not (each.path.stem == "test_etcd_blocking" and f"[{SIMULATED}" in each.name)
    ]


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A simulated etcd of one member."""
    with etcd_server(tmp_path_factory.mktemp("simulated"), SIMULATED) as server:
        yield server


@pytest.fixture(params=["real", SIMULATED])
def either(request: pytest.FixtureRequest) -> EtcdServer:
    """A shared etcd of one member, one of each kind: use `prefix`, and do not stop it."""
    return cast("EtcdServer", request.getfixturevalue("etcd" if request.param == "real" else "simulated"))


@pytest.fixture
async def etcd_client(either: EtcdServer) -> AsyncIterator[Etcd]:
    """A client of such an etcd."""
    async with Etcd(EtcdSettings(either.endpoints)) as client:
        yield client
