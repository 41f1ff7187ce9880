"""With FLEET_REQUIRE_CLUSTER=1 a skipped test marked `cluster` or `etcd` fails: a gate that may skip is open."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

REQUIRED = ("cluster", "etcd")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a required test into a failure that keeps its reason."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and is_required(item):
        report.outcome = "failed"
        report.longrepr = f"skipped, but FLEET_REQUIRE_CLUSTER is set: {report.longrepr}"
    return report


def is_required(item: pytest.Item) -> bool:
    """Whether this run must not skip the test."""
    wanted = os.environ.get("FLEET_REQUIRE_CLUSTER", "") not in {"", "0"}
    return wanted and any(item.get_closest_marker(name) for name in REQUIRED)
