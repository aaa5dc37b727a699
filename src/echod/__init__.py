"""echod: a TCP echo daemon to be trusted with a port, and the probe that measures a path against it.

The rooms, from the ground up; imports go down only:

- `echod.core`: records, outcomes, configuration. Plain values: no Twisted, no I/O, no clock.
- `echod.tls`: certificate files, and which TLS is spoken, for both sides.
- `echod.transport`: how bytes get from the kernel to the server's protocols, in place of Twisted's own way.
- `echod.server`: the daemon, on Twisted.
- `echod.probe`: the client, on Twisted. `echod.probe.probe` is its library face.
- `echod.load`: load on an echo server, from processes of their own, and the page of its results; upon the probe.
- `echod.logs`: what is written down of connections and events.
- `echod.admin`: health, metrics and a page to look at, over HTTP.
- `echod.cli`: the command lines. The only room that knows argv, stdout and the global reactor.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
