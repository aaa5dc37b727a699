"""Text of a peer, made safe where it is shown."""

__all__ = ["printable"]


def printable(text: str) -> str:
    """Return text of a peer as one line, without control characters and changes of the writing direction."""
    return "".join(c if c.isprintable() else "?" for c in text)
