"""Floor 2: the daemon. Its parts, from the inside out.

`protocol` is one connection, `connections` all that are open, `factory` what a
listener makes them with, `listening` where they come from, `service` the whole
daemon's life, `assembly` the one function that puts it together from a
configuration, and `observer` who is told of each connection's end.
"""
