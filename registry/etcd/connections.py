"""What both ways to an endpoint share, with and without an event loop: limits, and words for a lost connection."""

from __future__ import annotations

import os
import socket

CONNECT_TIMEOUT_S = 1.5
MOST_BYTES = 64 * 1024 * 1024
"""No answer may be larger: pages shrink before that."""

CLOSED = "closed the connection"
NO_TLS = "does not speak TLS: write the endpoint with http://"
NO_HTTP = "does not speak HTTP: this is not the port on which etcd serves clients"
TOO_LARGE = f"sent an answer of more than {MOST_BYTES >> 20} MiB"


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel ask whether the peer is still there: one that vanished silently is found in about 5 s."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 3), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def plain(error: BaseException) -> str:
    """An error of the system, of OpenSSL or of aiohttp in one line."""
    number = getattr(error, "errno", None)
    of_ssl = any(each.__module__ == "ssl" for each in type(error).__mro__)  # its numbers are others; loads no ssl
    system = os.strerror(number) if number and number > 0 and not of_ssl else ""
    text = system or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join((text[:1].lower() + text[1:]).split())
