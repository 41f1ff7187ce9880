"""Who may back up and who may restore: a viewer reads all of it, an operator brings back what counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleettui.actions.backup import lines_of, parse, read_registry
from fleettui.actions.operator import Operator
from fleettui.actions.restore_file import add_rest, read_file_restoration, restore
from registry.errors import RegistryDenied
from registry.keys import Keys
from registry.model import Sentinel, Target, Unit
from registry.records import encode
from registry.roles import Role, User
from registry.units.file import file_hash
from tests.access.fleet import secured
from tests.etcd_server import available_versions

KEYS = Keys()
TEXT = "[Service]\nExecStart=/bin/true\n"
EVENT, CRASH = KEYS.event("agent-m", "1790000000000-x"), KEYS.crash("m", "1790000000000-a.service")


@pytest.mark.etcd
async def test_a_viewer_backs_up_and_an_operator_restores_what_is_his_to_write(tmp_path: Path) -> None:
    users = (User("ann", Role.OPERATOR), User("vic", Role.VIEWER))
    async with secured(tmp_path, users, available_versions()[-1]) as etcd:
        root = Operator(etcd.root, KEYS, "root")
        unit = KEYS.unit("a.service")
        records = {
            KEYS.cluster: encode(Sentinel("c1")),
            KEYS.file(file_hash(TEXT)): TEXT.encode(),
            unit: encode(Unit("a.service", file_hash(TEXT), Target.LAUNCHED)),
            EVENT: b'{"at":1,"verb":"fail"}',
            CRASH: b'{"hostname":"core-1"}',
        }
        for key, value in records.items():
            await root.etcd.put(key, value)
        viewer, operator = [Operator(await etcd.client(each), KEYS, each) for each in ("vic", "ann")]
        backup = parse(b"".join(lines_of(await read_registry(viewer))))
        for key in (unit, EVENT, CRASH):
            await root.etcd.delete(key)

        with pytest.raises(RegistryDenied, match="vic"):
            await restore(viewer, await read_file_restoration(viewer, backup))
        assert (await root.etcd.get(KEYS.cluster)).value == records[KEYS.cluster]  # type: ignore[union-attr]
        await restore(operator, found := await read_file_restoration(operator, backup))
        assert (await root.etcd.get(unit)).value == records[unit]  # type: ignore[union-attr]
        assert (await add_rest(operator, found)).keys() == {"events", "crashes"}
        assert await add_rest(root, await read_file_restoration(root, backup)) == {}
        assert (await root.etcd.get(EVENT)).value == records[EVENT]  # type: ignore[union-attr]
