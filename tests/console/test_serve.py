"""The console in a browser: who is let in, and that it is the console which is there."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from fleettui.serve import console_command, is_loopback, main, public_url
from registry.errors import UserError

START_S = 60.0


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.0.0.1", False),
     ("fleet.example", False)],
)  # fmt: skip
def test_only_loopback_is_listened_on_without_a_word(host: str, local: bool) -> None:
    assert is_loopback(host) is local
    if not local:
        with pytest.raises(UserError, match="--allow-remote"):
            main(["--host", host])


def test_addresses_and_commands_are_quoted() -> None:
    assert public_url("::1", 80) == "http://[::1]:80"
    flags = type("Flags", (), {"config": "/a b", "endpoint": None, "prefix": None, "theme": "light",
                               "read_only": True, "fresh": False})  # fmt: skip
    assert console_command(flags).endswith("-m fleettui --config '/a b' --theme light --read-only")  # type: ignore[arg-type]


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator[tuple[str, str]]:
    """A served console without a registry: (address, secret)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleettui", "serve", "--port", str(port), "--endpoint", "http://127.0.0.1:1",
        stdout=asyncio.subprocess.PIPE, env=environ,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"(http://\S+)/\?token=(\S+)", line)
        assert found, line
        yield found[1], found[2]
    finally:
        process.terminate()
        async with asyncio.timeout(START_S):
            await process.wait()


async def status(session: aiohttp.ClientSession, url: str, **headers: str) -> int:
    async with session.get(url, headers=headers, allow_redirects=False) as response:
        return response.status


async def seen(socket_: aiohttp.ClientWebSocketResponse, text: str) -> None:
    """Read the screen's bytes until the text was drawn."""
    drawn = ""
    async with asyncio.timeout(START_S):
        async for message in socket_:
            if message.type is aiohttp.WSMsgType.BINARY:
                drawn += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", message.data.decode("utf-8", "replace"))
            if text in drawn:
                return
    raise AssertionError(f"{text!r} not in {drawn[-2000:]!r}")


async def test_the_console_is_in_the_browser_for_who_has_the_secret_and_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as (url, token), aiohttp.ClientSession(
        cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as session:  # fmt: skip
        assert await status(session, f"{url}/") == 403
        assert await status(session, f"{url}/?token=wrong") == 403
        assert await status(session, f"{url}/ws") == 403
        assert await status(session, f"{url}/?token={token}") == 302
        assert await status(session, f"{url}/") == 200
        assert await status(session, f"{url}/", Host="evil.example") == 403
        assert await status(session, f"{url}/", Origin="http://evil.example") == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{url}/ws", origin="http://evil.example")
        async with session.ws_connect(f"{url}/ws?width=100&height=30", origin=url) as socket_:
            await seen(socket_, "no answer from the registry")
            await socket_.send_json(["stdin", "?"])
            await seen(socket_, "type to search")
