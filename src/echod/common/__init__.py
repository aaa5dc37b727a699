"""Floor 0: plain values and pure functions. No Twisted, no I/O, no clock."""
