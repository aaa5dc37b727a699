"""The check of a configuration and of everything that it names. It opens no port, and creates or changes no file."""

import errno
import os
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from echod.common.errors import ConfigurationError, Problems
from echod.serve.access_log import STANDARD_OUTPUT
from echod.serve.sources import ConfigurationSources
from echod.server.config import ServerConfiguration
from echod.server.listeners import check_endpoint
from echod.server.tls import ServerTLS, TLSFiles

__all__ = ["CHECK_HELP", "CHECK_RELOAD_HELP", "Check", "configuration_warnings", "read_checked"]

CHECK_HELP = "check the configuration and the files that it names, then exit: status 0 if all is valid"
CHECK_RELOAD_HELP = "like --check, and refuse systemd credentials, which a reload cannot renew"


_LOOPBACK = ("::", "::1", "0.0.0.0", "127.0.0.1")  # noqa: S104 - compared with, not listened on
"""Interfaces that include a loopback address, on which a port number of the option admin listens."""


class Check(Enum):
    """What a configuration is checked for."""

    START = "start"
    """The start of a daemon."""
    RELOAD = "reload"
    """The reload of a running daemon, in another process."""
    SIGNAL = "signal"
    """The reload of a running daemon, in its own process. It opens an access log that has changed after the check, and
    may not have the permission to open again one that has not: twistd's --uid drops it after the start."""


def read_checked(
    sources: ConfigurationSources, reactor: object, environment: Mapping[str, str], check: Check
) -> ServerConfiguration:
    """Read the configuration, check it, and return it.

    `reactor` is for the parsers of endpoint strings, which do not use it. Raises ConfigurationError with every problem.
    """
    configuration = sources.read() if check is Check.START else sources.read_again()
    problems = Problems()
    for endpoint in (*configuration.listen, *configuration.tls_listen):
        with problems.collected():
            check_endpoint(reactor, endpoint)
    with problems.collected():
        _check_admin(configuration.admin, reactor)
    with problems.collected():
        _check_ports(configuration)
    if check is not Check.SIGNAL:
        with problems.collected():
            _check_access_log(configuration.access_log)
    if check is not Check.START:
        with problems.collected():
            _refuse_credentials(configuration, environment)
    if configuration.tls_certificate is not None:
        with problems.collected():
            ServerTLS(TLSFiles.from_configuration(configuration))
    problems.raise_if_any()
    return configuration


def configuration_warnings(configuration: ServerConfiguration, now: float) -> list[str]:
    """Return the warnings about the certificates of a valid configuration. `now`: seconds since the epoch."""
    if configuration.tls_certificate is None:
        return []
    return ServerTLS(TLSFiles.from_configuration(configuration)).warnings(now)


def _check_admin(address: str | None, reactor: object) -> None:
    if address is not None and not address.isdigit():
        try:
            check_endpoint(reactor, address)
        except ConfigurationError as problem:
            raise ConfigurationError(f"admin: {problem}") from None


def _check_ports(configuration: ServerConfiguration) -> None:
    """Refuse one port for two options. Whether another process listens on a port is known only when the daemon does."""
    seen: dict[int, str] = {}
    for name, port in _ports(configuration):
        if port in seen:
            raise ConfigurationError(f"{name}: {seen[port]} is {port} already")
        seen[port] = name


def _ports(configuration: ServerConfiguration) -> Iterator[tuple[str, int]]:
    if not configuration.listen:
        yield "port", configuration.port
    if configuration.tls_port is not None:
        yield "tls-port", configuration.tls_port
    if configuration.admin is not None and configuration.admin.isdigit() and configuration.interface in _LOOPBACK:
        yield "admin", int(configuration.admin)


def _check_access_log(path: str | None) -> None:
    """Raise ConfigurationError if the file cannot be opened to append to it, or cannot be created."""
    if path is None or path == STANDARD_OUTPUT:
        return
    problem = _why_not_appendable(Path(path))
    if problem is not None:
        raise ConfigurationError(f"access-log: cannot open {path}: {os.strerror(problem)}")


def _why_not_appendable(file: Path) -> int | None:
    """Return the error number of an attempt to open the file to append to it; None: it would succeed."""
    if file.is_dir():
        return errno.EISDIR
    if file.exists():
        return None if os.access(file, os.W_OK) else errno.EACCES
    if not file.parent.exists():
        return errno.ENOENT
    if not file.parent.is_dir():
        return errno.ENOTDIR
    return None if os.access(file.parent, os.W_OK | os.X_OK) else errno.EACCES


def _refuse_credentials(configuration: ServerConfiguration, environment: Mapping[str, str]) -> None:
    """Refuse files that systemd copied when the service started (LoadCredential=): a reload reads the old copy."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return
    problems = Problems()
    for name in ("tls-certificate", "tls-key", "tls-client-ca"):
        path = getattr(configuration, name.replace("-", "_"))
        if path is not None and Path(path).absolute().is_relative_to(directory):
            with problems.collected():
                raise ConfigurationError(
                    f"{name}: {path} is a systemd credential, copied when the service started: a reload cannot renew "
                    "it; restart the service"
                )
    problems.raise_if_any()
