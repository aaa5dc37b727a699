"""Defaults and bounds that the server and the clients share."""

__all__ = ["DEFAULT_PORT", "DEFAULT_RECORD_SIZE", "LARGEST_RECORD"]

DEFAULT_PORT = 3005
DEFAULT_RECORD_SIZE = 250

LARGEST_RECORD = 1 << 20
"""Bytes. A connection holds up to one record in memory, so this bounds what a client can make it hold."""
