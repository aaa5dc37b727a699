"""echod's tests.

`unit` needs no running reactor and runs under trial and under pytest; `live` runs over real
sockets, under pytest-twisted; `process` starts the real commands; `systemd` runs the units in a
real systemd; `interop` holds echod against two small C programs. `support` is what they share.
"""
