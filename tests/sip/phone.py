"""The audio of a far end's phones: hears what the caller says, and talks.

G.711 u-law (PCMU) over RTP, payload type 0, 20 ms a packet; digits as telephone events (RFC 4733), payload type 101.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PCMU, TELEPHONE_EVENT = 0, 101
FRAME_S, FRAME_SAMPLES = 0.02, 160
TONE = bytes([0x90] * 10 + [0x10] * 10) * 8
"""20 ms of a 400 Hz square wave."""
LOUD = 500
"""Of 32,124; comfort noise and silence stay far below."""
_QUIET_AFTER_S = 1.0
_LOOK_S = 0.005
_LATE_PACKETS = 10
"""A machine that was busy for longer does not send what it has missed."""
_EVENTS = "0123456789*#ABCD"


@dataclass
class Talk:
    """What one call's audio was, from the first packet of the caller on. Times are seconds since the epoch."""

    began_s: float
    last_s: float
    says: Iterator[bytes] | None = None
    """Frames of 20 ms, u-law; None: a tone without end."""
    is_over: bool = False
    packets: int = 0
    loud_s: list[float] = field(default_factory=list)
    """When each loud packet came."""
    digits: str = ""
    _event_stamp: int | None = None
    _sent: int = 0
    _first: int = field(default_factory=lambda: random.randrange(30_000))
    _source: int = field(default_factory=lambda: random.randrange(2**32))

    def hear(self, packet: bytes, now_s: float) -> None:
        """One packet of the caller."""
        if len(packet) <= 12:
            return
        kind, stamp, payload = packet[1] & 0x7F, int.from_bytes(packet[4:8], "big"), packet[12:]
        self.packets += 1
        self.last_s = now_s
        if kind == PCMU and max(map(loudness, payload)) > LOUD:
            self.loud_s.append(now_s)
        elif kind == TELEPHONE_EVENT and stamp != self._event_stamp and payload[0] < len(_EVENTS):
            # All packets of one event carry the time at which it began.
            self._event_stamp = stamp
            self.digits += _EVENTS[payload[0]]

    def packets_due(self, now_s: float) -> Iterator[bytes]:
        """Ours that should have been sent by now."""
        due = int((now_s - self.began_s) / FRAME_S)
        while self._sent < due:
            self._sent += 1
            frame = TONE if self.says is None else next(self.says, None)
            self.is_over = self.is_over or frame is None
            if frame is not None and due - self._sent < _LATE_PACKETS:
                yield self._packet(frame)

    def _packet(self, frame: bytes) -> bytes:
        sequence = self._first + self._sent
        stamp = sequence * FRAME_SAMPLES
        return struct.pack("!BBHII", 0x80, PCMU, sequence & 0xFFFF, stamp & 0xFFFFFFFF, self._source) + frame


class Phone:
    """One UDP port for all calls of a far end, told apart by where the caller's packets come from."""

    def __init__(
        self, *, address: str, talk_limit_s: float | None = None, says: Callable[[], Iterator[bytes]] | None = None
    ) -> None:
        """`talk_limit_s`: fall silent, for good, so long after the caller's first packet. `says`: see `Talk`; for each call."""
        self._talk_limit_s = talk_limit_s
        self._says = says
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self.port: int = self._socket.getsockname()[1]
        self._talks: dict[int, Talk] = {}
        self._peers: dict[int, tuple[str, int]] = {}
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._speak)]
        for thread in self._threads:
            thread.start()

    def talk(self, port: int) -> Talk:
        """The audio of the call whose caller sends from this port."""
        return self._talks.get(port) or Talk(began_s=0, last_s=0)

    def close(self) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _listen(self) -> None:
        self._socket.settimeout(0.2)
        while not self._closed.is_set():
            try:
                packet, peer = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            now_s = time.time()
            talk = self._talks.get(peer[1])
            if talk is None:
                self._peers[peer[1]] = peer
                says = None if self._says is None else self._says()
                talk = self._talks[peer[1]] = Talk(began_s=now_s, last_s=now_s, says=says)
            talk.hear(packet, now_s)

    def _speak(self) -> None:
        while not self._closed.wait(_LOOK_S):
            now_s = time.time()
            for port, talk in list(self._talks.items()):
                over = talk.is_over or now_s > talk.last_s + _QUIET_AFTER_S
                if not over and (self._talk_limit_s is None or now_s < talk.began_s + self._talk_limit_s):
                    for packet in talk.packets_due(now_s):
                        self._socket.sendto(packet, self._peers[port])


def u_law(sample: int) -> int:
    """The code of a 16-bit sample (ITU-T G.711)."""
    magnitude = min(abs(sample), 32_635) + 132
    segment = magnitude.bit_length() - 8
    return ~((0x80 if sample < 0 else 0) | segment << 4 | magnitude >> segment + 3 & 0x0F) & 0xFF


def loudness(sample: int) -> int:
    """Magnitude of a u-law sample, 0 to 32,124 (ITU-T G.711)."""
    sample = ~sample & 0xFF
    return (((sample & 0x0F) << 3) + 0x84 << (sample >> 4 & 7)) - 0x84
