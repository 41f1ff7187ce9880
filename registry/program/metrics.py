"""Serving what a daemon measures: GET /metrics for Prometheus, GET /healthz for whoever asks whether it works.

Off unless `[metrics] listen` is set; the libraries are loaded only then. Both pages are made when they are asked
for. A port that is taken costs the metrics, not the daemon: it is told once, and tried again now and then.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from registry.etcd import EtcdSettings
from registry.etcd.credentials import certificate_ends
from registry.etcd.health import EtcdHealth
from registry.program.configrules import listen_address
from registry.program.measures import BUILD, CERTIFICATE, ENDPOINTS, REGISTRY_UP, Sample
from registry.program.version import installed_version

if TYPE_CHECKING:
    from registry.program import exposition

from registry.messages import METRICS_UNSERVED

log = logging.getLogger("fleet.metrics")

AGAIN_S = 30.0  # between attempts at a port that is taken
OFFSETS = {"agent": 0, "scheduler": 1}  # one configuration serves both programs of a host

Samples = Callable[[], Awaitable[Iterable[Sample]]]
Health = Callable[[], tuple[bool, str]]  # whether the daemon does its work, and its status in one line


async def serve(program: str, listen: str, samples: Samples, health: Health) -> None:
    """Serve for ever where `listen` says; returns at once where it says nothing."""
    if not listen:
        return
    host, port = listen_address(listen)
    port += OFFSETS[program]
    try:
        module = await asyncio.to_thread(importlib.import_module, "registry.program.exposition")
    except ImportError as error:
        text = "cannot serve metrics: %s; install prometheus-client"
        log.error(text, error, extra=METRICS_UNSERVED.of())  # noqa: TRY400
        return
    door: type[exposition.MetricsPages] = module.MetricsPages
    told = ""
    while True:
        try:
            async with door(host, port, samples, health):
                log.info("serving metrics on %s port %d", host or "every address", port)
                await asyncio.Event().wait()
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != told:
                remedy = "set another [metrics] listen; trying again now and then"
                text = "cannot serve metrics on %s port %d: %s; %s"
                log.error(text, host, port, reason, remedy, extra=METRICS_UNSERVED.of())  # noqa: TRY400
            told = reason
        await asyncio.sleep(AGAIN_S)


def common_samples(program: str, health: EtcdHealth) -> Iterator[Sample]:
    """Yield what both programs tell of themselves and of etcd."""
    yield Sample(BUILD, 1, (program, installed_version()))
    yield Sample(REGISTRY_UP, not health.away and not health.denied)
    yield Sample(ENDPOINTS, len(health.bases) - len(health.down), ("up",))
    yield Sample(ENDPOINTS, len(health.down), ("down",))


async def certificate_samples(settings: EtcdSettings) -> list[Sample]:
    """Return when the certificates run out that are used towards etcd, as far as they can be read."""
    found = await asyncio.to_thread(certificate_ends, settings.cert_file, settings.ca_file)
    return [Sample(CERTIFICATE, at, (name,)) for name, at in found.items()]
