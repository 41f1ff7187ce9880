"""The health check of a unit file: what is read from it, and what is refused with a remedy."""

from __future__ import annotations

import pytest

from registry.units.check import verify
from registry.units.file import parse
from registry.units.health import HealthCheck, read_check
from registry.units.options import ANYWHERE, parse_options


def text(*lines: str) -> str:
    return "\n".join(["[Service]", "ExecStart=/bin/true", "[X-Fleet]", *lines, ""])


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], None),
        (["HealthCheck="], None),
        (["HealthCheck=http://127.0.0.1"], HealthCheck("127.0.0.1", 80, "/")),
        (["HealthCheck=http://127.0.0.1:80%i/healthz?a=b"], HealthCheck("127.0.0.1", 802, "/healthz?a=b")),
        (["HealthCheck=tcp://[::1]:22"], HealthCheck("::1", 22)),
        (
            ["HealthCheck=tcp://localhost:1", "HealthInterval=500ms", "HealthTimeout=1min", "HealthRetries=0"],
            HealthCheck("localhost", 1, None, 0.5, 60.0, 0),
        ),
    ],
)
def test_a_check_is_read_with_its_specifiers(lines: list[str], found: HealthCheck | None) -> None:
    assert read_check(parse(text(*lines)), "web@2.service") == found
    assert not verify("web@2.service", text(*lines), "web@2.service")
    assert parse_options(parse(text(*lines)), "web@2.service") == ANYWHERE  # it matters to no placement


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["HealthCheck=https://127.0.0.1"], "no address of a check"),
        (["HealthCheck=http://user@127.0.0.1"], "no address of a check"),
        (["HealthCheck=http://127.0.0.1:99999/"], "no address of a check"),
        (["HealthCheck=http://127.0.0.1:0/"], "port 0"),
        (["HealthCheck=http://127.0.0.1/a b"], "no address of a check"),
        (["HealthCheck=tcp://127.0.0.1"], "needs a port"),
        (["HealthCheck=tcp://127.0.0.1:1/x"], "needs a port"),
        (["HealthCheck=http://[::1"], "no address of a check"),
        (["HealthInterval=1s"], "stands without HealthCheck"),
        (["HealthCheck=tcp://a:1", "HealthInterval=1ms"], "no time from 0.5s to 3600s"),
        (["HealthCheck=tcp://a:1", "HealthTimeout=soon"], "no span of time"),
        (["HealthCheck=tcp://a:1", "HealthRetries=-1"], "no number from 0 to 99"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(lines: list[str], reason: str) -> None:
    (problem,) = verify("web.service", text(*lines), "web.service")
    assert reason in str(problem)
    assert str(problem).startswith(f"web.service:{3 + len(lines)}")


def test_an_option_in_a_section_of_systemds_is_told() -> None:
    problems = verify("web.service", "[Service]\nExecStart=/bin/true\nHealthCheck=tcp://a:1\n", "web.service")
    assert "move it to [X-Fleet]" in str(problems[0])
