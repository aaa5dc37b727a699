"""The listening sockets that systemd passes to the daemon (socket activation), as options of the configuration.

The name of a socket, FileDescriptorName= of its unit, says what it is for: `echo`, `echo-tls` or `admin`. Such a socket
takes the place of a port; an endpoint in the configuration is used as it is written.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from socket import AddressFamily, socket

from echod.common.errors import ConfigurationError
from echod.common.options import Layer

__all__ = ["InheritedSocket", "inherited_sockets", "replaced_options", "socket_layer", "unused_names"]

_FIRST_DESCRIPTOR = 3
"""The first of the descriptors that systemd passes (sd_listen_fds(3))."""

_ECHO, _TLS, _ADMIN = "echo", "echo-tls", "admin"

_LISTENER_OPTIONS = ("port", "interface", "reuse-port")
"""The options of the listener that a socket replaces."""


@dataclass(frozen=True, slots=True)
class InheritedSocket:
    """A listening socket that systemd passed."""

    name: str
    index: int
    """Its place among the sockets that systemd passed, from 0 up."""
    domain: str
    """INET6, INET or UNIX."""

    @property
    def endpoint(self) -> str:
        """Twisted's endpoint string for the socket."""
        return f"systemd:domain={self.domain}:index={self.index}"


def family_of(descriptor: int) -> AddressFamily:
    """Return the address family of a socket. Raises ConfigurationError if the descriptor is not a socket."""
    try:
        with socket(fileno=os.dup(descriptor)) as duplicate:
            return AddressFamily(duplicate.family)
    except OSError as problem:
        raise ConfigurationError(f"LISTEN_FDNAMES: descriptor {descriptor}: {problem.strerror}") from None


def inherited_sockets(
    environment: Mapping[str, str], pid: int, family_of: Callable[[int], AddressFamily] = family_of
) -> tuple[InheritedSocket, ...]:
    """Return the sockets that the variables of systemd describe. `family_of` returns that of a descriptor's socket.

    Twisted removes LISTEN_PID and LISTEN_FDS from the environment when it reads them; LISTEN_FDNAMES remains. An
    endpoint closes its descriptor when it listens, so this is called before. Raises ConfigurationError.
    """
    names = environment.get("LISTEN_FDNAMES", "")
    if not names or environment.get("LISTEN_PID", str(pid)) != str(pid):
        return ()
    return tuple(
        InheritedSocket(name, index, family_of(_FIRST_DESCRIPTOR + index).name.removeprefix("AF_"))
        for index, name in enumerate(names.split(":"))
    )


def socket_layer(sockets: Iterable[InheritedSocket], earlier: Sequence[Layer]) -> Layer:
    """Return the options that the sockets stand for, unless the `earlier` layers have an endpoint for the purpose.

    Raises ConfigurationError if a certificate is missing.
    """
    given = _merged(earlier)
    endpoints: dict[str, tuple[str, ...]] = {}
    for each in sockets:
        endpoints[each.name] = (*endpoints.get(each.name, ()), each.endpoint)
    values: dict[str, object] = {}
    if _ECHO in endpoints and not given.get("listen"):
        values["listen"] = endpoints[_ECHO]
    if _TLS in endpoints and not given.get("tls-listen"):
        if not given.get("tls-certificate"):
            raise ConfigurationError(f"the socket {_TLS} from systemd requires tls-certificate")
        values |= {"tls-listen": endpoints[_TLS], "tls-port": None}
    if _ADMIN in endpoints and str(given.get("admin", "0")).isdigit():
        values["admin"] = endpoints[_ADMIN][0]
    return Layer(values)


def replaced_options(layer: Layer, earlier: Sequence[Layer]) -> list[str]:
    """Return the names of the options in the `earlier` layers that have no effect beside a layer of sockets."""
    replaced = [*(_LISTENER_OPTIONS if "listen" in layer.values else ()), *layer.values]
    return [name for name in _merged(earlier) if name in replaced]


def unused_names(sockets: Iterable[InheritedSocket], endpoints: Iterable[str]) -> list[str]:
    """Return the names of the sockets that none of the listeners' `endpoints` uses: their clients are not served."""
    used = {part for endpoint in endpoints for part in endpoint.split(":")}
    return [each.name for each in sockets if not {f"name={each.name}", f"index={each.index}"} & used]


def _merged(layers: Iterable[Layer]) -> dict[str, object]:
    return {name: value for layer in layers for name, value in layer.values.items()}
