"""The errors of this package.

    Error
    |-- SettingsError         a setting is missing, unknown or wrong; nothing was started
    |-- DatabaseError         the database cannot be used as it is; nothing was changed
    |   |-- DatabaseUnavailable   it cannot be reached
    |   `-- MigrationRefused      its schema was changed by hand or is newer than this program
    |-- BadInput              something a person or program gave us cannot be taken; nothing was changed
    |   |-- InvalidNumber         not a number that can be dialled
    |   |-- DestinationForbidden  a number outside the account's allowed destinations
    |   |-- NotFound              no such account, trunk, call ...
    |   `-- Conflict              it contradicts what is stored (an idempotency key used for another call)
    `-- ForbiddenTransition   a defect: a state change that the lifecycle does not allow

None of these is raised after a request to dial was sent, except ForbiddenTransition; a call that was dialled always ends with
a reason of its own.
"""

from __future__ import annotations


class Error(Exception):
    """Base of all errors that this package raises on purpose."""


class SettingsError(Error):
    """A setting is missing, unknown or wrong. Names file, key, value and what is allowed. Nothing was started."""


class DatabaseError(Error):
    """The database cannot be used as it is. Nothing was changed."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached. Nothing was changed."""


class MigrationRefused(DatabaseError):
    """The schema was changed behind our back, or is newer than this program. Nothing was changed."""


class BadInput(Error):
    """Input that cannot be taken. The message names the thing and says what to do. Nothing was changed."""


class InvalidNumber(BadInput):
    """Not a telephone number that can be dialled."""


class DestinationForbidden(BadInput):
    """The number is outside the account's allowed destinations."""


class NotFound(BadInput):
    """There is no such account, trunk or call."""


class Conflict(BadInput):
    """It contradicts what is already stored."""


class ForbiddenTransition(Error):
    """A defect: a state change that the lifecycle does not allow. The call may have been placed."""

    def __init__(self, before: str, after: str) -> None:
        super().__init__(f"a call cannot go from {before} to {after}")
        self.before = before
        self.after = after
