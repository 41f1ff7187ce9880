"""A bad cable: a relay between a machine's link and the bridge that loses and delays frames. Run as a program.

Many kernels come without netem, so the frames pass through here: from the link by a packet socket, to the bridge by
a tap, with the offload header that both understand. The tap goes with the process; until the link is given
back to the bridge the machine is cut off.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
FRAME_BYTES = 70_000


def open_tap(name: str, bridge: str) -> int:
    """A tap device on the bridge."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    subprocess.run(["ip", "link", "set", name, "master", bridge, "up"], check=True)
    return tap


def open_link(link: str) -> socket.socket:
    """Every frame that comes out of the link, and a way into it."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    packets.bind((link, 0))
    packets.setblocking(False)
    return packets


def relay(link: str, bridge: str, loss: float, delay_s: float, seed: int) -> None:
    """Carry frames until ended; each is lost with probability `loss`, else late by `delay_s`, half more or less."""
    chance = random.Random(seed)
    subprocess.run(["ip", "link", "set", link, "nomaster"], check=True)
    packets, tap = open_link(link), open_tap(f"{link[-13:]}t", bridge)
    ends = {packets.fileno(): tap, tap: packets.fileno()}
    late: list[tuple[float, int, int, bytes]] = []
    serial = 0
    while True:
        wait_s = max(late[0][0] - time.monotonic(), 0.0) if late else None
        for source in select.select(list(ends), [], [], wait_s)[0]:
            frame = _read(source)
            if frame and chance.random() >= loss:
                serial += 1
                due = time.monotonic() + delay_s * chance.uniform(0.5, 1.5)
                heapq.heappush(late, (due, serial, ends[source], frame))
        while late and late[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(late)
            _write(target, frame)


def _read(source: int) -> bytes:
    try:
        return os.read(source, FRAME_BYTES)
    except OSError:  # the device went down under us
        return b""


def _write(target: int, frame: bytes) -> None:
    try:
        os.write(target, frame)
    except OSError:  # a full queue loses frames, as a cable may
        return


if __name__ == "__main__":
    _link, _bridge, _loss, _delay_ms, _seed = sys.argv[1:]
    relay(_link, _bridge, float(_loss), float(_delay_ms) / 1000, int(_seed))
