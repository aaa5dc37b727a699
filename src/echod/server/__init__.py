"""Layer 2: the daemon as a library.

`make_service` returns the whole daemon as a Twisted service. `EchoFactory.standalone` returns a factory for any stream
endpoint of another Twisted program. docs/embedding.md has an example of each.

Where things are: `config` has the options; `exchange` and `exchange_states` the state machine of a connection;
`protocol` and `tls` the protocols that carry out its actions over TCP and over TLS; `deadlines` their deadlines;
`factory` the factory of one listener; `connections` the open connections; `admission` the limits and the access list;
`proxy` and `proxy_header` the PROXY protocol; `listeners`, `accept_pause`, `accept_overflow` and `port_close` the
listening sockets; `service` the daemon as a Twisted service, and `assembly` the function that assembles it; `summary`
and `observer` the report of each connection; `supervisor` the notifications to systemd.
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
