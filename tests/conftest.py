"""What every test may use, and what every process of a test run begins with."""

from __future__ import annotations

import signal

pytest_plugins = ["tests.fixtures.database", "tests.fixtures.orchestra"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what is put in the background with Ctrl-C ignored, and children inherit it: they could not be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
