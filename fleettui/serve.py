"""`fleettui serve`: the console in a browser, for those who have the address that it prints. Draws nothing itself.

textual-serve runs one console a browser tab and carries its screen over a WebSocket. It asks nobody who they are,
so this stands before it: loopback unless told otherwise, a secret in the address, and no word to pages of other
sites. What that does not protect is told in docs/browser.md.
"""

from __future__ import annotations

import argparse
import hmac
import ipaddress
import secrets
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from registry.errors import UserError
from registry.program.config import THEMES

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler, Middleware

COOKIE = "fleettui"
HEADERS = {  # nobody may frame the console, and nothing is fetched from elsewhere
    "Content-Security-Policy": "frame-ancestors 'none'; style-src 'self' 'unsafe-inline'; font-src 'self' data:",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
PASSED = ("config", "endpoint", "prefix", "theme")  # flags with a value that the console itself takes
EPILOG = """Whoever has the printed address drives the fleet as you do. There is no shell and no editor there.
From another machine reach it through SSH: ssh -L 8000:127.0.0.1:8000 HOST. See docs/browser.md."""


def main(argv: Sequence[str]) -> int:
    """Serve until interrupted; the exit code. UserError for an address that it should not or cannot listen on."""
    flags = parser().parse_args(argv)
    if not flags.allow_remote and not is_loopback(flags.host):
        raise UserError(
            f"refusing to listen on {flags.host}: what is typed and shown would cross the network in clear text; "
            "use ssh -L, or add --allow-remote behind a proxy with TLS"
        )
    try:
        serve(
            console_command(flags), flags.host, flags.port, flags.public_url or public_url(flags.host, flags.port)
        )
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"cannot listen on {flags.host}:{flags.port}: {why}; choose another --port") from error
    return 0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def public_url(host: str, port: int) -> str:
    """The address that the browser is given."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def console_command(flags: argparse.Namespace) -> str:
    """The command line of one console, quoted for a shell."""
    program = Path(sys.argv[0]).absolute()  # which may know where its packages are when Python does not
    words = [str(program)] if program.name == "fleettui" else [sys.executable, "-m", "fleettui"]
    for name in PASSED:
        if value := getattr(flags, name):
            words += [f"--{name}", value]
    words += ["--read-only"] * flags.read_only + ["--fresh"] * flags.fresh
    return shlex.join(words)


def serve(command: str, host: str, port: int, url: str) -> None:
    """Serve the command's screen. Blocks."""
    try:
        from aiohttp import web  # noqa: PLC0415 - part of what may not be installed
        from textual_serve.server import Server  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UserError("the browser needs textual-serve: pip install 'fleettui[web]'") from error

    token = secrets.token_urlsafe(24)

    class Guarded(Server):  # type: ignore[misc] # it has no types
        """textual-serve behind the guard, without its logo."""

        async def _make_app(self) -> web.Application:
            app: web.Application = await super()._make_app()
            app.middlewares.append(web.middleware(guard(token, urlsplit(url).netloc)))
            return app

        async def on_startup(self, app: web.Application) -> None:
            """No logo."""

    def told(_: str) -> None:
        print(f"The console is at {url}/?token={token}\nctrl+c ends it; the fleet goes on.", flush=True)

    served = Guarded(command, host=host, port=port, title="fleet", public_url=url)
    app = served._make_app()  # noqa: SLF001 - its own way to run logs the secret, and speaks before it listens
    web.run_app(app, host=host, port=port, access_log=None, print=told)


def guard(token: str, netloc: str) -> Middleware:
    """Lets in who shows the secret, from pages of this server alone.

    A foreign Host is another site's name that was made to point here; a foreign Origin is another site's page.
    """
    from aiohttp import web  # noqa: PLC0415 - an extra

    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host != netloc:
            raise web.HTTPForbidden(text=f"this console answers to http://{netloc} only\n")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != netloc:
            raise web.HTTPForbidden(text="another site's page may not use this console\n")
        if _same(request.query.get("token", ""), token):
            entered = web.HTTPFound("/")
            entered.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
            raise entered
        if not _same(request.cookies.get(COOKIE, ""), token):
            raise web.HTTPForbidden(text="open the address that fleettui serve printed\n")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return guarded


def _same(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode(), token.encode())


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; use one from 1 to 65535")
    return int(text)


def _web_address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is no address; it begins with http:// or https://")
    return text


def parser() -> argparse.ArgumentParser:
    """Return the command line, with its help."""
    made = argparse.ArgumentParser(
        prog="fleettui serve", description="The console in a browser on this machine.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("--host", default="127.0.0.1", metavar="HOST", help="the address to listen on (127.0.0.1)")
    made.add_argument("--port", type=_port, default=8000, metavar="PORT", help="the port (8000)")
    made.add_argument("--allow-remote", action="store_true", help="listen on an address that others can reach")
    made.add_argument(
        "--public-url", type=_web_address, metavar="URL", help="what browsers call it, behind a proxy"
    )
    made.add_argument("--config", metavar="FILE", help="as for fleettui")
    made.add_argument("--endpoint", metavar="URL,…", help="as for fleettui")
    made.add_argument("--prefix", metavar="KEY", help="as for fleettui")
    made.add_argument("--read-only", action="store_true", help="show everything, change nothing")
    made.add_argument("--fresh", action="store_true", help="do not open it as it was left")
    made.add_argument("--theme", choices=THEMES, help="as for fleettui")
    return made
