"""Where a server is between its start and its end."""

from dataclasses import dataclass


@dataclass(slots=True)
class Phase:
    """Set by the server and its application; read where something has to act on it."""

    loaded: bool = False
    """Loading has ended, well or not: there may be something to close."""
    stopping: bool = False
    """The server was asked to end: it is not ready any more, and keeps no connection."""
    closing: bool = False
    """It no longer listens: what has no end of its own, such as a stream of events, ends."""
    cut: bool = False
    """Requests have had their time: all that is under way ends now."""
