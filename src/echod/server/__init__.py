"""Layer 2: the daemon as a library.

`make_service` returns the whole daemon as a Twisted service. `EchoFactory.standalone` returns a factory for any stream
endpoint of another Twisted program. docs/embedding.md has an example of each.

The modules, by what a reader looks for: `config` the options, `exchange` the state machine of a connection, `protocol`
and `tls` what carries out its actions over TCP and TLS, `factory` the connections of one listener, `admission` limits
and access list, `proxy` and `proxy_header` the PROXY protocol, `listeners` the listening sockets, `service` the
daemon's life, `assembly` the function that assembles it, `summary` and `observer` the report of each connection,
`supervisor` systemd's notifications.
"""

from echod.server.assembly import make_service
from echod.server.config import ServerConfiguration
from echod.server.factory import EchoFactory
from echod.server.observer import IConnectionObserver, NullObserver, Observers
from echod.server.service import EchoService
from echod.server.summary import CloseReason, ConnectionSummary

__all__ = [
    "CloseReason",
    "ConnectionSummary",
    "EchoFactory",
    "EchoService",
    "IConnectionObserver",
    "NullObserver",
    "Observers",
    "ServerConfiguration",
    "make_service",
]
