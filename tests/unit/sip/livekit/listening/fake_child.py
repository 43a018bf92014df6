"""A listener process that hears nothing but speaks the protocol; what it does in a room, the room's name says.

    hears       joins, starts, sees the answer, tells a beep
    rings       joins and starts; nobody answers
    dies        joins, starts, sees the answer, and dies the first time; then, on another child, tells what it was ordered
    dies-early  the same before the answer
    stalls      joins and beats no more
    babbles     joins and talks nonsense
    refused     cannot join

Messages: it plays `ok.wav` to its end, stops when it is told to, and cannot play anything else.
"""

from __future__ import annotations

import argparse
import os
import socket
import threading
import time
from pathlib import Path

from sip.clock import boot_time_s
from sip.livekit.listening.wire import (
    AnswerSeen,
    Beat,
    Gone,
    Hush,
    Joined,
    Leave,
    Listen,
    Play,
    Played,
    Playing,
    Report,
    Started,
    Told,
    line_of,
    order_of,
)
from sip.voicemail.events import Tone, ToneKind

BEEP = Tone(ToneKind.BEEP, 1.0, 1.4, 1.5)


class FakeChild:
    def __init__(self, connection: socket.socket, beat_s: float) -> None:
        self.connection = connection
        self.beats = True
        self.lock = threading.Lock()
        threading.Thread(target=self.beat, args=(beat_s,), daemon=True).start()

    def tell(self, report: Report) -> None:
        with self.lock:
            self.connection.sendall(line_of(report))

    def beat(self, beat_s: float) -> None:
        while True:
            if self.beats:
                self.tell(Beat(boot_time_s(), 0))
            time.sleep(beat_s)

    def run(self) -> None:
        for line in self.connection.makefile("rb"):
            match order_of(line):
                case Listen() as order:
                    self.listen(order)
                case Leave(room=room):
                    self.tell(Gone(room, boot_time_s(), ""))
                case Play(room=room, path=path):
                    if Path(path).name != "ok.wav":
                        self.tell(Played(room, boot_time_s(), complete=False, played_s=0.0, why="no audio"))
                        continue
                    self.tell(Playing(room))
                    if "long" not in room:
                        self.tell(Played(room, boot_time_s(), complete=True, played_s=2.0, why=""))
                case Hush(room=room):
                    self.tell(Played(room, boot_time_s(), complete=False, played_s=0.5, why="stopped"))

    def listen(self, order: Listen) -> None:
        room = order.room
        kind = room.rsplit(" ", 1)[-1]
        if kind == "refused":
            self.tell(Gone(room, boot_time_s(), "the room could not be joined: refused"))
            return
        self.tell(Joined(room))
        if kind == "stalls":
            self.beats = False
            return
        if kind == "babbles":
            self.connection.sendall(b"what?\n")
            return
        if order.detect:
            self.tell(Started(room, boot_time_s()))
        # The first child that gets such a room dies of it, and leaves a note for the next one.
        note = Path(os.environ["FAKE_NOTES"]) / kind if kind in ("dies", "dies-early") else None
        if note is not None and not note.exists():
            note.touch()
            if kind == "dies":
                self.tell(AnswerSeen(room))
            os._exit(1)
        if kind == "rings":
            return
        self.tell(AnswerSeen(room))
        self.tell(Told(room, boot_time_s(), BEEP, 0.5))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", dest="module")
    parser.add_argument("--socket", type=int)
    parser.add_argument("--beat", type=float)
    arguments = parser.parse_args()
    FakeChild(socket.socket(fileno=arguments.socket), arguments.beat).run()


if __name__ == "__main__":
    main()
