"""What systemd says of one unit, as a value, and how a failed task reads as one line.

Owns the names of systemd's properties that the agent looks at and the wording of failures. Pure: it is fed
properties as they come over D-Bus and asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

STOPPED = ("", "inactive", "failed")

# systemd's property: our field. The first group is of every unit, the second of services.
UNIT_FIELDS = {
    "LoadState": "load",
    "ActiveState": "active",
    "SubState": "sub",
    "StateChangeTimestamp": "changed_us",
    "InactiveExitTimestampMonotonic": "left_inactive_us",
    "ConditionTimestampMonotonic": "condition_us",
    "ConditionResult": "condition",
    "FragmentPath": "fragment",
    "NeedDaemonReload": "stale",
    "Job": "job",
    "InvocationID": "invocation",
}
SERVICE_FIELDS = {
    "Result": "result",
    "ExecMainStatus": "exec_status",
    "ExecMainCode": "exec_code",
    "MainPID": "main_pid",
    "NRestarts": "restarts",
}
FIELDS = UNIT_FIELDS | SERVICE_FIELDS
SIGNATURES = {  # D-Bus's types of these properties
    "StateChangeTimestamp": "t", "InactiveExitTimestampMonotonic": "t", "ConditionTimestampMonotonic": "t",
    "ConditionResult": "b", "NeedDaemonReload": "b", "Job": "(uo)", "ExecMainStatus": "i", "ExecMainCode": "i",
    "MainPID": "u", "NRestarts": "u", "InvocationID": "ay",
} | dict.fromkeys(("LoadState", "ActiveState", "SubState", "FragmentPath", "Result"), "s")  # fmt: skip
_RANGES = {"u": range(1 << 32), "t": range(1 << 64), "i": range(-(1 << 31), 1 << 31)}
DETAILS = tuple(name for name in UNIT_FIELDS if name not in ("NeedDaemonReload", "ConditionResult", "Job"))

# systemd.exec(5), "Process Exit Codes": what systemd itself reports when it cannot run a program.
EXIT_NAMES = {
    200: "CHDIR", 201: "NICE", 202: "FDS", 203: "EXEC", 204: "MEMORY", 205: "LIMITS", 206: "OOM_ADJUST",
    207: "SIGNAL_MASK", 208: "STDIN", 209: "STDOUT", 210: "CHROOT", 211: "IOPRIO", 214: "SETSCHEDULER",
    215: "CPUAFFINITY", 216: "GROUP", 217: "USER", 218: "CAPABILITIES", 219: "CGROUP", 220: "SETSID",
    222: "STDERR", 224: "PAM", 225: "NETWORK", 226: "NAMESPACE", 227: "NO_NEW_PRIVILEGES", 228: "SECCOMP",
    229: "SELINUX_CONTEXT", 230: "PERSONALITY", 231: "APPARMOR", 232: "ADDRESS_FAMILIES",
    233: "RUNTIME_DIRECTORY", 235: "CHOWN", 237: "KEYRING", 238: "STATE_DIRECTORY", 239: "CACHE_DIRECTORY",
    240: "LOGS_DIRECTORY", 241: "CONFIGURATION_DIRECTORY", 243: "CREDENTIALS",
}  # fmt: skip
EXITED, KILLED, DUMPED = 1, 2, 3  # ExecMainCode: CLD_EXITED and its neighbours

REMARKS = {
    "timeout": "timed out; raise TimeoutStartSec= if it needs longer",
    "protocol": "it did not follow the protocol of its Type=",
    "watchdog": "its watchdog timed out",
    "start-limit-hit": "it was started too often; see StartLimitBurst=",
    "resources": "systemd could not set up what it needs; see its journal",
    "oom-kill": "the kernel ended it for want of memory",
    "exec-condition": "its ExecCondition= said no",
}


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """One unit in systemd's own words; the defaults stand for "not known yet". Times in microseconds."""

    load: str = ""
    active: str = ""
    sub: str = ""
    changed_us: int = 0  # wall clock
    left_inactive_us: int = 0  # monotonic clock, like every time of a start
    condition_us: int = 0
    condition: bool = True
    fragment: str = ""
    stale: bool = False  # NeedDaemonReload
    job: int = 0  # id of the job under way, 0: none
    invocation: bytes = b""  # of the run that is, or was last
    result: str = ""
    exec_status: int = 0
    exec_code: int = 0
    main_pid: int = 0
    restarts: int = 0

    @property
    def running(self) -> bool:
        """Whether anything of the unit may be alive: every active state but the two that are at rest."""
        return self.active not in STOPPED

    @property
    def settled(self) -> bool:
        """Whether no start is under way."""
        return not self.job and self.active != "activating"

    @property
    def exit_code(self) -> int | None:
        """What the main process ended with; None while there is none that ended."""
        return self.exec_status if self.exec_code in (EXITED, KILLED, DUMPED) else None

    def attempted_since(self, at_us: int) -> bool:
        """Whether a start was carried out since `at_us` (monotonic): it left inactive, or a condition held it."""
        return max(self.left_inactive_us, self.condition_us) >= at_us > 0

    def merged(self, properties: Mapping[str, Any]) -> UnitStatus:
        """The status with D-Bus properties put over it; what is unknown or of a wrong type is passed over."""
        changes = {}
        for name, value in properties.items():
            if name == "Job" and isinstance(value, (list, tuple)) and value:
                value = value[0]  # noqa: PLW2901 - the id; its path says no more
            if name in FIELDS and _fits(name, value):
                changes[FIELDS[name]] = value
        return replace(self, **changes) if changes else self


UNKNOWN = UnitStatus()


def _fits(name: str, value: object) -> bool:
    """Whether a value is of the type that the property has (of a job, its id)."""
    signature = SIGNATURES[name].strip("(o)")
    if signature in _RANGES:
        return type(value) is int and value in _RANGES[signature]
    if signature == "ay":
        return type(value) is bytes and len(value) in (0, 16)
    return type(value) is (bool if signature == "b" else str)


def failure(status: UnitStatus, program: str = "") -> str:
    """Why a unit's process failed, in a few words; `program` is its first command's path, "" if unknown."""
    if status.result in ("exit-code", "") and status.exec_code == EXITED:
        return exit_words(status.exec_status, program)
    if status.exec_code in (KILLED, DUMPED) and status.result in ("signal", "core-dump"):
        return f"killed by signal {status.exec_status}{' (core dumped)' if status.exec_code == DUMPED else ''}"
    return REMARKS.get(status.result, f"result {status.result or 'unknown'}")


def exit_words(code: int, program: str) -> str:
    """How a process ended by itself, with systemd's word where it was systemd that could not run it."""
    words = f"exit code {code}"
    if code in EXIT_NAMES:
        words += f"/{EXIT_NAMES[code]}"
    return f"{words} ({program}: missing or not executable)" if code == 203 and program else words


def start_failed(cause: str) -> str:
    """The error of a start that failed for this cause."""
    return f"start {cause}" if cause.startswith("timed out") else f"start failed: {cause}"


def start_error(job_result: str, status: UnitStatus, at_us: int, program: str = "") -> str:
    """The error of a start whose job ended with `job_result`; "" when the unit did start.

    `done` alone is no success (a missing binary says so too): the state decides. A condition that does not hold
    leaves the unit inactive and is not an error.
    """
    if job_result == "dependency":
        return "start failed: a dependency failed"
    if status.result == "timeout" and status.attempted_since(at_us):
        return start_failed(REMARKS["timeout"])
    if status.active == "failed" or (job_result == "failed" and status.result not in ("", "success")):
        return start_failed(failure(status, program))
    if job_result in ("done", "skipped", "unknown"):
        return ""
    return f"start failed: its job was {job_result}"


def skipped(status: UnitStatus, at_us: int) -> bool:
    """Whether a start since `at_us` was skipped because a condition does not hold."""
    return not status.condition and status.condition_us >= at_us and not status.running
