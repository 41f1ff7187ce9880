"""Steps, done: on hosts over SSH, in the registry, on this laptop. One method for each kind of act.

Steps of one host are done in order, those of different hosts side by side. Of a stage that fails the other hosts go
on to its end; the next stage is not begun. Every script on a host holds one lock there, makes things beside their
place and moves them into it, and can be done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleettui.access.authority import Authority, Leaf
from fleettui.access.grants import Grants, new_password
from fleettui.access.secrets_key import make_keys
from fleettui.install import archive, steps
from fleettui.install.etcd_member import Members, environment
from fleettui.install.etcd_program import EtcdProgram
from fleettui.install.facts import ETC, OPT, HostFacts
from fleettui.install.fleet_files import FleetFiles
from fleettui.install.plan import client_url, peer_url
from fleettui.install.steps import EtcdSource, HostFile, LeafKind, Stage, Step
from fleettui.remote.bare_host import BareHost
from fleettui.remote.errors import one_line
from registry.errors import FleetError, RegistryUnavailable, UserError
from registry.etcd import Etcd
from registry.etcd.admin import ROOT
from registry.keys import Keys
from registry.roles import Role, User, agent_of, scheduler_of

SCRIPT_S, UNPACK_S, REGISTER_S, DRAIN_S = 120.0, 300.0, 60.0, 300.0
APT_OPTIONS = "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="  # which leave no cache behind
LOCKED = 'exec 9>/run/fleet-join.lock; flock -w 100 9 || { echo "another join is at work there" >&2; exit 1; }\n'
SETTLED = f"set -eu; umask 022; PATH=/usr/sbin:/usr/bin:/sbin:/bin; {LOCKED}"
UNPACK = f"""{SETTLED}
version=$2; python=$3; to={OPT}/versions/$version
if [ ! -e "$to/complete" ]; then
    mkdir -p {OPT}/versions
    rm -rf "$to.new" "$to"
    mkdir "$to.new"
    tar -xzf - -C "$to.new" --no-same-owner
    "python$python" -m compileall -q -j 2 -s "$to.new" -p "$to" "$to.new/lib" >/dev/null || true
    "$to.new/bin/fleet-agentd" --version >/dev/null
    : >"$to.new/complete"
    sync -f "$to.new"
    mv "$to.new" "$to"
fi
[ -e {OPT}/current/complete ] || ln -sfn "versions/$version" {OPT}/current
"""
PUT_ETCD = f"""{SETTLED}
to={OPT}/etcd/$2
if [ ! -e "$to/complete" ]; then
    mkdir -p {OPT}/etcd
    rm -rf "$to.new" "$to"
    mkdir "$to.new"
    case $3 in
        own) cp /usr/bin/etcd "$to.new/etcd" ;;
        apt)
            mkdir "$to.new/package"
            cd "$to.new/package"
            apt-get {APT_OPTIONS} -o APT::Sandbox::User=root -qq download "etcd-server=$4" >said 2>&1 ||
                {{ grep '^E:' said >&2 || cat said >&2; exit 1; }}
            dpkg-deb --extract etcd-server_*.deb .
            mv usr/bin/etcd ../etcd
            cd /
            rm -rf "$to.new/package"
            ;;
        *) gzip -dc >"$to.new/etcd" ;;
    esac
    chmod 755 "$to.new/etcd"
    "$to.new/etcd" --version >/dev/null
    : >"$to.new/complete"
    sync -f "$to.new"
    mv "$to.new" "$to"
fi
[ -e {OPT}/etcd/current/complete ] || ln -sfn "$2" {OPT}/etcd/current
"""
PUT_FILES = f"""{SETTLED}
from=$(mktemp -d /run/fleet-join.XXXXXX)
trap 'rm -rf "$from"' EXIT
tar -xf - -C "$from" --no-same-owner --same-permissions
cd "$from"
find . -type f | while read -r each; do
    mkdir -p "$(dirname "/$each")"
    cp -p "$each" "/$each.fleet-new"
    sync "/$each.fleet-new"
    mv -f "/$each.fleet-new" "/$each"
done
"""
# What stands in "$each.fleet-new" takes the place of each configuration, and the loop ends.
REPLACED = """\
    chmod 600 "$each.fleet-new"
    sync "$each.fleet-new"
    mv -f "$each.fleet-new" "$each"
done
"""
SET_ENDPOINTS = f"""{SETTLED}
shift; endpoints=$1; shift
for each in "$@"; do
    sed "s|^endpoints = .*|endpoints = $endpoints|" "$each" >"$each.fleet-new"
{REPLACED}"""
SET_METRICS = f"""{SETTLED}
shift; listen=$1; shift
for each in "$@"; do
    {{ cat "$each"; grep -q '^\\[metrics\\]' "$each" || printf '\\n[metrics]\\n'; }} |
        sed -e '/^\\[metrics\\]/,/^\\[[^m]/{{/^listen = /d}}' \\
            -e "s|^\\[metrics\\]|&\\nlisten = \\"$listen\\"|" >"$each.fleet-new"
{REPLACED}"""
START = f"""{SETTLED}
systemctl daemon-reload
systemctl enable --quiet "$2"
systemctl "$3" "$2"
"""
STOP = f"""{SETTLED}
systemctl disable --quiet "$2" 2>/dev/null || true
systemctl stop "$2"
systemctl reset-failed "$2" 2>/dev/null || true
"""
# The registry copies its certificates, the scheduler is handed them when it starts; the agent reads them itself.
TAKE_UP = f"""{SETTLED}
systemctl --quiet is-active fleet-etcd.service && systemctl reload fleet-etcd.service
systemctl try-restart fleet-scheduler.service 2>/dev/null || true
"""
Report = Callable[[Step, float], None]  # a step, and the seconds that it took; before it begins, -1


class StepFailed(FleetError):
    """A step that failed. Names host, step, command output and remedy."""

    def __init__(self, step: Step, why: str) -> None:
        where = step.host or "this laptop"
        super().__init__(f"{where}: {step.does}: {one_line(why)}; {step.remedy}")
        self.step = step


class _HostSays(FleetError):
    """A script on a host that ended with an error."""


@dataclass(slots=True)
class Worksite:
    """Everything that steps are carried out on."""

    files: FleetFiles
    hosts: Mapping[str, BareHost]
    facts: Mapping[str, HostFacts]
    endpoints: tuple[str, ...]  # of the registry, as far as it answers by now
    keys: Keys
    cache: Path
    etcd: EtcdProgram | None = None
    users_on: bool = False
    programs: archive.Programs | None = None
    _archives: asyncio.Lock = field(default_factory=asyncio.Lock)
    _etcd_packed: bytes = field(default=b"", repr=False)
    _granting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextlib.asynccontextmanager
    async def registry(self) -> AsyncIterator[Etcd]:
        """The registry as root, or as anybody while users are off."""
        async with self.at(self.endpoints) as etcd:
            yield etcd

    def at(self, endpoints: tuple[str, ...]) -> Etcd:
        """A client of these endpoints alone."""
        return Etcd(self.files.settings(endpoints, ROOT if self.users_on else ""))

    async def carry_out(self, stages: Iterable[Stage], report: Report) -> None:
        """Do all steps. Raises StepFailed for the first that failed, after the others of its stage."""
        for stage in stages:
            lanes: dict[str, list[Step]] = {}
            for step in stage.steps:
                lanes.setdefault(step.host if stage.together else "", []).append(step)
            work = [self._in_order(lane, report) for lane in lanes.values()]
            failed = [each for each in await _all_to_their_end(work) if each is not None]
            if failed:
                raise failed[0]

    async def _in_order(self, lane: list[Step], report: Report) -> None:
        for step in lane:
            report(step, -1)
            began = time.monotonic()
            try:
                await self.do(step)
            except FleetError as error:
                raise StepFailed(step, str(error)) from error
            report(step, time.monotonic() - began)

    async def do(self, step: Step) -> None:  # noqa: C901, PLR0912 - a table of acts
        """Do one step. Raises FleetError."""
        host = step.host
        match step.act:
            case steps.OwnAuthority():
                await asyncio.to_thread(self.files.make)
            case steps.OwnHostKeys(lines):
                await asyncio.to_thread(self.files.pin, lines)
            case steps.OwnConfig(endpoints, user):
                await asyncio.to_thread(self.files.write_config, endpoints, user)
            case steps.OwnEndpoints(endpoints):
                await asyncio.to_thread(self.files.write_endpoints, endpoints)
            case steps.Unpack() as act:
                await self._unpack(host, act)
            case steps.PutEtcd() as act:
                await self._put_etcd(host, act)
            case steps.PutCertificates(certificates):
                await self._put_certificates(host, certificates)
            case steps.PutFiles(files):
                await self.put(host, files)
            case steps.SetEndpoints(paths, endpoints):
                await self.script(host, SET_ENDPOINTS, json.dumps(list(endpoints)), *paths)
            case steps.SetMetrics(paths, listen):
                await self.script(host, SET_METRICS, listen, *paths)
            case steps.StartMember(name, address):
                own = {name: peer_url(address)}
                await self._start_etcd(host, environment(name, address, own, self.files.name, new=True))
                self.endpoints = (client_url(address),)
            case steps.AddMember() as act:
                await self._add_member(host, act)
            case steps.TurnUsersOn(operator):
                await self._turn_users_on(operator)
            case steps.PutSecretsKey(path):
                key = await asyncio.to_thread(make_keys, self.files.directory)
                await self.put(host, [HostFile(path, key.encode(), 0o600)])
            case steps.PutPassword() as act:
                await self._put_password(host, act)
            case steps.StartService(unit, again):
                await self.script(host, START, unit, "try-restart" if again else "start")
            case steps.StopService(unit):
                await self.script(host, STOP, unit, timeout_s=DRAIN_S)
            case steps.AwaitMachine(machine):
                await self._await_machine(machine)
            case _:
                raise AssertionError(step.act)

    async def script(
        self, host: str, text: str, *arguments: str, data: bytes = b"", timeout_s: float = SCRIPT_S
    ) -> str:
        """Run a script on a host; its output. Raises FleetError with the last lines of what it complained of."""
        done = await self.hosts[host].run(text, *arguments, data=data, timeout_s=timeout_s)
        if done.status:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise _HostSays(f"the command ended with {done.status}: {' | '.join(lines[-4:])}")
        return done.stdout.decode("utf-8", "replace")

    async def put(self, host: str, files: Iterable[HostFile]) -> None:
        """Write files on a host, each whole or not at all."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for file in files:
                entry = tarfile.TarInfo(file.path.removeprefix("/"))
                entry.size, entry.mode = len(file.content), file.mode
                tar.addfile(entry, io.BytesIO(file.content))
        await self.script(host, PUT_FILES, data=buffer.getvalue())

    async def _unpack(self, host: str, act: steps.Unpack) -> None:
        programs = self.programs if self.programs is not None else await asyncio.to_thread(archive.running)
        async with self._archives:  # hosts of one kind share it
            made = await asyncio.to_thread(archive.archive, programs, act.python, act.architecture, self.cache)
        data = await asyncio.to_thread(made.read_bytes)
        await self.script(host, UNPACK, act.version, act.python, data=data, timeout_s=UNPACK_S)

    async def _put_etcd(self, host: str, act: steps.PutEtcd) -> None:
        packed = b""
        if act.source is EtcdSource.SENT:
            if self.etcd is None:
                raise UserError("there is no etcd to put there; give one with --etcd FILE")
            async with self._archives:  # once for all members
                self._etcd_packed = self._etcd_packed or await asyncio.to_thread(self.etcd.packed)
            packed = self._etcd_packed
        await self.script(host, PUT_ETCD, act.version, act.source, act.package, data=packed, timeout_s=UNPACK_S)

    async def _put_certificates(self, host: str, wanted: Iterable[steps.Certificate]) -> None:
        """Issue them on this laptop; the host's services take them up without a unit noticing."""
        authority = await asyncio.to_thread(Authority.load, self.files.directory)
        files = {}
        for each in wanted:
            leaf = await asyncio.to_thread(_issue, authority, each)
            place = f"{each.stem.rpartition('/')[0]}/ca.pem"
            files[place] = HostFile(place, authority.certificate_pem)
            files[f"{each.stem}.key"] = HostFile(f"{each.stem}.key", leaf.key, 0o600)
            files[f"{each.stem}.pem"] = HostFile(f"{each.stem}.pem", leaf.certificate)
        await self.put(host, files.values())
        await self.script(host, TAKE_UP)

    async def _start_etcd(self, host: str, text: str) -> None:
        await self.put(host, [HostFile(f"{ETC}/etcd.env", text.encode(), 0o600)])
        await self.script(host, START, "fleet-etcd.service", "start")

    async def _add_member(self, host: str, act: steps.AddMember) -> None:
        if act.discard:
            stop = f"{SETTLED}systemctl stop fleet-etcd.service || true\nrm -rf /var/lib/private/fleet-etcd/data\n"
            await self.script(host, stop)
        async with self.registry() as etcd:
            members = Members(etcd, self.at)
            await members.announce(peer_url(act.address))
            cluster = {each.name or act.name: each.peer_urls[0] for each in await members.all()}
            text = environment(act.name, act.address, cluster, self.files.name, new=False)
            await self._start_etcd(host, text)
            await members.promote(peer_url(act.address))
        self.endpoints = tuple(dict.fromkeys([*self.endpoints, client_url(act.address)]))

    async def _turn_users_on(self, operator: str) -> None:
        passwords = [self.files.password(each) for each in (ROOT, operator)]
        root, own = await asyncio.to_thread(lambda: [each.read_text().strip() for each in passwords])
        if not self.users_on:
            async with self.registry() as etcd:
                await Grants(etcd, self.keys).turn_on(root)
            self.users_on = True
        async with self.registry() as etcd:
            await Grants(etcd, self.keys).grant(User(operator, Role.OPERATOR), own)

    async def _put_password(self, host: str, act: steps.PutPassword) -> None:
        """Into the file first: a user whose password nobody has would be taken for done by the next run."""
        password = new_password()
        await self.put(host, [HostFile(act.path, f"{password}\n".encode(), 0o600)])
        user = agent_of(act.machine) if act.role == "agent" else scheduler_of(act.machine)
        async with self._granting, self.registry() as etcd:
            await Grants(etcd, self.keys).grant(user, password)

    async def _await_machine(self, machine: str) -> None:
        async with self.registry() as etcd:
            deadline = time.monotonic() + REGISTER_S
            while await etcd.get(self.keys.machine(machine)) is None:
                if time.monotonic() > deadline:
                    raise RegistryUnavailable(f"its agent did not register within {REGISTER_S:g} s")
                await asyncio.sleep(0.1)


async def _all_to_their_end(work: Iterable[Coroutine[None, None, None]]) -> list[FleetError | None]:
    """Run side by side; an error that nobody foresaw, or an interrupt, ends all at once."""

    async def one(each: Coroutine[None, None, None]) -> FleetError | None:
        try:
            await each
        except FleetError as error:
            return error
        return None

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(each)) for each in work]
    return [task.result() for task in tasks]


def _issue(authority: Authority, act: steps.Certificate) -> Leaf:
    match act.kind:
        case LeafKind.SERVER:
            return authority.issue_server(act.names)
        case LeafKind.PEER:
            return authority.issue_peer(act.names)
        case _:
            return authority.issue_client()
