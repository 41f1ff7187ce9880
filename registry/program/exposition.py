"""Metrics as Prometheus reads them, over HTTP: the only door to prometheus-client, and to aiohttp's server.

The library knows the formats (OpenMetrics where it is asked for, else Prometheus's text); what is told is made anew
for each request and kept nowhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import registry.etcd.library  # noqa: F401 - first: it imports aiohttp without what it brings along

# isort: split
from aiohttp import web
from prometheus_client import exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from registry.program.daemonlog import describe_error
from registry.program.measures import Histogram, Kind, Sample
from registry.program.metrics import Health, Samples

log = logging.getLogger("fleet.metrics")

PROCESS = ProcessCollector(registry=None)


class MetricsPages:
    """The two pages, while the context lasts. OSError where the address cannot be used."""

    def __init__(self, host: str, port: int, samples: Samples, health: Health) -> None:
        self._host, self._port, self._samples, self._health = host, port, samples, health
        app = web.Application()
        app.router.add_get("/metrics", self._metrics, allow_head=False)
        app.router.add_get("/healthz", self._healthz, allow_head=False)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        self._told = ""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host or None, self._port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            told = await self._samples()
            encode, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
            body = encode(registry_of(told))
        except Exception as error:  # noqa: BLE001 - a scrape that fails ends no daemon
            if (text := describe_error(error)) != self._told:
                log.error("cannot tell the metrics: %s", text)  # noqa: TRY400
            self._told = text
            return web.Response(status=500, text=f"{text}\n")
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _healthz(self, _request: web.Request) -> web.Response:
        well, status = self._health()
        return web.Response(status=200 if well else 503, text=f"{status}\n")


def registry_of(told: Iterable[Sample]) -> CollectorRegistry:
    """Return the samples, and what the library knows of a process, as its encoders take them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told([*families(told)]))
    registry.register(PROCESS)
    return registry


class _Told(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        yield from self._found


def families(told: Iterable[Sample]) -> Iterator[Metric]:
    """Yield the samples as the library has them, those of one metric together."""
    found: dict[str, Metric] = {}
    for sample in told:
        metric, labels, value = sample.metric, sample.labels, sample.value
        family = found.get(metric.name)
        if family is None:
            family = found[metric.name] = FAMILIES[metric.kind](metric.name, metric.meaning, labels=metric.labels)
        if isinstance(value, Histogram):
            if isinstance(family, HistogramMetricFamily):
                family.add_metric(labels, list(value.buckets()), value.sum)
        elif isinstance(family, InfoMetricFamily):
            family.add_metric((), dict(zip(metric.labels, labels, strict=True)))
        elif isinstance(family, GaugeMetricFamily | CounterMetricFamily):
            family.add_metric(labels, float(value))
    yield from found.values()


FAMILIES = {
    Kind.GAUGE: GaugeMetricFamily,
    Kind.COUNTER: CounterMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
    Kind.INFO: InfoMetricFamily,
}
