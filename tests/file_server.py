"""A real HTTP server of one file, for tests: it can hold an answer back, cut it off, redirect and refuse."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """What it serves, and what it was asked for."""

    daemon_threads = True

    def __init__(self, content: bytes, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), Handler)
        self.content = content
        self.asked: list[tuple[str, str]] = []  # path, Range
        self.gate = threading.Event()
        self.gate.set()
        self.status: dict[str, int] = {}
        self.cut = Counter[str]()  # paths, and how many answers end in the middle

    def url(self, path: str = "/server", scheme: str = "http") -> str:
        return f"{scheme}://{self.server_address[0]!s}:{self.server_port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server, path = self.server, self.path
        server.asked.append((path, self.headers.get("Range", "")))
        if status := server.status.get(path, 0):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        body = (b"another" if path == "/other" else server.content)[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(body) - 1}/{begin + len(body)}")
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        if server.cut[path]:
            server.cut[path] -= 1
            self.close_connection = True
            return
        server.gate.wait(20)
        self.wfile.write(body[half:])

    def log_message(self, *_: object) -> None:
        pass
