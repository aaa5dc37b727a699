"""Floor 2: the daemon. Its parts, from the inside out.

`protocol` is one connection, and `tls` one over TLS; `connections` are all that are open, `limits` who is let in.
`factory` is what a listener makes its connections with, `proxying` what does so behind a proxy. `listening` is
where connections come from, `accepting` what happens when the host cannot give one, and `leaving` how a
listener closes. `service` is the whole daemon's life, and `assembly` the one function that puts it together from
a configuration. `observer` is told of each connection's end, `supervisor` of the daemon's life.
"""
