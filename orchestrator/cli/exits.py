"""Exit codes: the same for every command."""

from __future__ import annotations

import enum

from orchestrator.errors import BadInput, DatabaseUnavailable, Error, NotFound, SettingsError
from sip.errors import CarrierUnavailable
from sip.errors import Error as SipError


class Exit(enum.IntEnum):
    """What the exit code of a command says."""

    OK = 0
    FAILURE = 1
    """It could not be done; the message says why. For `check`: something must be mended. For a demo: a promise was broken."""
    USAGE = 2
    """The command line, the settings or the input cannot be taken; nothing was changed."""
    PARTLY_REFUSED = 3
    """Some lines of a file, or some of several calls, were refused; everything else was done."""
    NOT_FOUND = 4
    """No such account, trunk or call; nothing was changed."""
    UNAVAILABLE = 5
    """The database or LiveKit cannot be reached; nothing was changed, or the message says what was."""
    INTERRUPTED = 130
    """Ctrl-C."""


def exit_for(error: Error | SipError) -> Exit:
    """The exit code of a command that ended with this error."""
    match error:
        case NotFound():
            return Exit.NOT_FOUND
        case BadInput() | SettingsError():
            return Exit.USAGE
        case DatabaseUnavailable() | CarrierUnavailable():
            return Exit.UNAVAILABLE
        case _:
            return Exit.FAILURE
