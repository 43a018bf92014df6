"""The errors of this package.

    Error
    |-- CarrierUnavailable     the media server cannot be reached, is too slow, or refuses us; nothing was dialled
    |-- RoomRefused            the media server will not make this room; nothing was dialled
    `-- BadPlan                a dial plan that no carrier could carry out; nothing was dialled

A request to dial never raises: whatever becomes of it is told by the leg's `Ended` event, since only that can say whether
a phone may have rung.
"""


class Error(Exception):
    """Base of all errors that this package raises on purpose."""


class CarrierUnavailable(Error):
    """The media server cannot be reached, answers too late or with garbage, or refuses our key. Nothing was dialled."""


class RoomRefused(Error):
    """The media server answered, and will not make or keep the room. Nothing was dialled."""


class BadPlan(Error):
    """The plan holds what cannot be dialled (a header without a name, a display name too long). Nothing was dialled."""
