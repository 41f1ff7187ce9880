"""What the daemons measure and how it is served: formats, a port that is taken, certificates, times of etcd."""

from __future__ import annotations

import asyncio
import datetime
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain_families

from registry.etcd import Etcd
from registry.etcd.certificate import expiries, expiry
from registry.etcd.credentials import certificate_ends
from registry.program import metrics
from registry.program.exposition import families
from registry.program.measures import METRICS, REQUEST_SECONDS, TASKS, Histogram, Kind, RequestTimes, Sample
from registry.program.metrics import serve
from tests.certificates import Authority
from tests.etcd_server import free_ports

OPEN = {"Accept": "application/openmetrics-text; version=1.0.0"}


async def fetch(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type and body of an answer."""

    def ask() -> tuple[int, str, str]:
        request = urllib.request.Request(url, headers=headers or {}, method=method)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    return await asyncio.to_thread(ask)


async def until_served(url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await fetch(url)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                return


@asynccontextmanager
async def served(
    told: Iterable[Sample], port: int, *, well: bool = True, program: str = "agent"
) -> AsyncIterator[str]:
    async def samples() -> Iterable[Sample]:
        return told

    work = asyncio.create_task(serve(program, f"127.0.0.1:{port}", samples, lambda: (well, "it is so")))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def one_of_each() -> list[Sample]:
    histogram = Histogram()
    histogram.observe(0.003)
    return [
        Sample(each, histogram if each.kind is Kind.HISTOGRAM else 1.0, tuple("x" for _ in each.labels))
        for each in METRICS
    ]


async def test_every_metric_is_told_in_both_formats() -> None:
    (port,) = free_ports(1)
    async with served(one_of_each(), port) as url:
        await until_served(f"{url}/healthz")
        _, kind, text = await fetch(f"{url}/metrics", OPEN)
        assert kind.startswith("application/openmetrics-text")
        told = {each.name for each in openmetrics.text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
        assert {each.name for each in METRICS} <= told
        assert "process_resident_memory_bytes" in told
        _, kind, text = await fetch(f"{url}/metrics")
        assert kind.startswith("text/plain")
        names = {sample.name for each in plain_families(text) for sample in each.samples}
        assert {each.queried for each in METRICS if each.kind is not Kind.HISTOGRAM} <= names


async def test_nothing_else_is_served() -> None:
    (port,) = free_ports(1)
    async with served((), port) as url:
        await until_served(f"{url}/healthz")
        assert (await fetch(f"{url}/"))[0] == 404
        assert (await fetch(f"{url}/metrics", method="POST"))[0] == 405


@pytest.mark.parametrize(("well", "status"), [(True, 200), (False, 503)])
async def test_health_is_what_the_status_says(well: bool, status: int) -> None:
    (port,) = free_ports(1)
    async with served((), port, well=well) as url:
        await until_served(f"{url}/healthz")
        assert (await fetch(f"{url}/healthz"))[::2] == (status, "it is so\n")


async def test_a_port_that_is_taken_is_told_once_and_used_when_it_is_free(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "AGAIN_S", 0.02)
    (port,) = free_ports(1)
    with caplog.at_level(logging.INFO, "fleet.metrics"):
        with socket.create_server(("127.0.0.1", port)):
            async with served((), port) as url:
                async with asyncio.timeout(30):
                    while "cannot serve" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
                        await asyncio.sleep(0.02)
                await asyncio.sleep(0.1)
        async with served((), port) as url:
            await until_served(f"{url}/healthz")
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert len(told) == 1
    assert f"port {port}: " in told[0]
    assert "in use" in told[0]
    assert "[metrics] listen" in told[0]


async def test_the_scheduler_takes_the_next_port() -> None:
    (port,) = free_ports(1)
    async with served((), port, program="scheduler"):
        await until_served(f"http://127.0.0.1:{port + 1}/healthz")


async def test_a_scrape_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    broken = [Sample(TASKS, Histogram(), ("start", "done"))]
    broken[0] = Sample(TASKS, "seven", ("start", "done"))  # type: ignore[arg-type]
    async with served(broken, port) as url:
        await until_served(f"{url}/healthz")
        for _ in range(2):
            assert (await fetch(f"{url}/metrics"))[0] == 500
        assert (await fetch(f"{url}/healthz"))[0] == 200
    assert caplog.text.count("cannot tell the metrics") == 1


async def test_nothing_is_loaded_or_served_without_an_address() -> None:
    async def samples() -> Iterable[Sample]:
        return []

    await serve("agent", "", samples, lambda: (True, ""))  # returns at once


@given(st.lists(st.floats(0, 100)))
def test_buckets_add_up(times: list[float]) -> None:
    histogram = Histogram()
    for each in times:
        histogram.observe(each)
    buckets = list(histogram.buckets())
    for bound, count in buckets:
        assert count == sum(each <= float(bound) for each in times)
    assert buckets[-1][0] == "+Inf"


@pytest.mark.etcd
async def test_the_times_of_etcd_are_gathered_by_kind(etcd_client: Etcd, prefix: str) -> None:
    times = RequestTimes()
    assert not list(times.samples())
    etcd_client.health.timed = times.note
    await etcd_client.put(f"{prefix}a", b"1")
    await etcd_client.get(f"{prefix}a")
    with pytest.raises(Exception, match="lease"):
        await etcd_client.put(f"{prefix}b", b"1", lease=77)
    found = {(each.metric.name, each.labels): each.value for each in times.samples()}
    put, got = found[REQUEST_SECONDS.name, ("put",)], found[REQUEST_SECONDS.name, ("range",)]
    assert isinstance(put, Histogram)
    assert isinstance(got, Histogram)
    assert (sum(put.counts), sum(got.counts)) == (2, 1)
    assert found["fleet_registry_request_failures", ("put",)] == 1


@pytest.mark.parametrize("ends_h", [1.0, 24 * 90, 24 * 365 * 60])  # the last beyond 2049, in four digits
def test_the_end_of_a_certificate_is_what_a_library_reads(ends_h: float) -> None:
    authority = Authority()
    pem, _ = authority.issue("a.example", ends_h=ends_h)
    for text in (pem, authority.certificate_pem):
        assert expiries(text) == [x509.load_pem_x509_certificate(text).not_valid_after_utc.timestamp()]
    assert len(expiries(pem + b"\n" + authority.certificate_pem)) == 2


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="certificate"):
        expiry(data)


@given(st.data())
def test_a_broken_certificate_is_read_or_refused(data: st.DataObject) -> None:
    der = x509.load_pem_x509_certificate(PEM).public_bytes(Encoding.DER)
    position = data.draw(st.integers(0, len(der) - 1))
    broken = der[:position] + bytes([data.draw(st.integers(0, 255))]) + der[position + 1 :]
    for each in (broken, der[:position]):
        try:
            assert isinstance(expiry(each), float)
        except ValueError:
            continue


def test_the_certificates_that_are_used_towards_etcd_are_read(tmp_path: Path) -> None:
    authority = Authority()
    pem, key = authority.issue("x", ends_h=24 * 10)
    ca, cert = tmp_path / "ca.pem", tmp_path / "cert.pem"
    ca.write_bytes(authority.certificate_pem)
    cert.write_bytes(pem + key)
    ends = certificate_ends(str(cert), str(ca))
    now = datetime.datetime.now(datetime.UTC).timestamp()
    assert {name: round((at - now) / 86400) for name, at in ends.items()} == {"client": 10, "authority": 1}
    assert certificate_ends(None, None) == {}
    assert certificate_ends(str(tmp_path / "gone"), str(tmp_path)) == {}


def test_samples_of_one_metric_are_one_family() -> None:
    told = [Sample(TASKS, 1, ("start", "done")), *one_of_each(), Sample(TASKS, 2, ("stop", "done"))]
    names = [each.name for each in families(told)]
    assert len(names) == len(set(names)) == len(METRICS)


PEM, _KEY = Authority().issue("broken.example")
