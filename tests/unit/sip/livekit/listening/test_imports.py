"""No audio gets into the daemon: not even the libraries for it do."""

from __future__ import annotations

import subprocess
import sys

FOR_AUDIO = ("numpy", "livekit.rtc", "soundfile", "webrtcvad")
SHOWS = f"import sys, orchestrator.app; print([name for name in {FOR_AUDIO} if name in sys.modules])"


def test_the_daemon_imports_neither_the_client_library_nor_numpy() -> None:
    shown = subprocess.run([sys.executable, "-c", SHOWS], check=True, capture_output=True, text=True, timeout=120).stdout
    assert shown.strip() == "[]"
