"""Defaults and bounds that the server and the clients share."""

__all__ = ["DEFAULT_PORT", "DEFAULT_RECORD_SIZE", "LARGEST_RECORD"]

DEFAULT_PORT = 3005
DEFAULT_RECORD_SIZE = 250
"""Bytes."""

LARGEST_RECORD = 1 << 20
"""Bytes. A connection buffers up to one record, so this bounds the memory that one client can use."""
