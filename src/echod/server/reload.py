"""The reload of a running daemon: a new configuration is applied to new connections, as a whole or not at all."""

from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from echod.common.errors import ConfigurationError
from echod.common.options import Option, changed_options
from echod.server.config import ServerConfiguration

__all__ = ["Reload", "ReloadablePart"]

_TLS_FILES = frozenset({"tls_certificate", "tls_key", "tls_client_ca"})


class ReloadablePart(Protocol):
    """The interface of a part of the daemon that a reload changes."""

    def prepare(self, configuration: ServerConfiguration) -> Callable[[], None]:
        """Load what the configuration names; return the function that puts it to use, which must not fail.

        Raises ConfigurationError. Until the function is called nothing changes.
        """


class Reload:
    """Applies new configurations to a running daemon, and keeps the result of the last one."""

    _log = Logger()

    def __init__(
        self, configuration: ServerConfiguration, part: ReloadablePart, wall_clock: Callable[[], float]
    ) -> None:
        """`configuration` is that of the start, `part` the first part that a reload changes."""
        self._started = configuration
        """Has the values in use of the options that need a restart."""
        self._applied = configuration
        """Has the values in use of the other options."""
        self._parts = [part]
        self._wall_clock = wall_clock
        self.successful = True
        """Whether the last configuration that was read is in use, except for options that need a restart."""
        self.succeeded_at = wall_clock()
        """The time of the last success, in seconds since the epoch."""

    def add(self, part: ReloadablePart) -> None:
        """Add a part, which is prepared after the others. Only the last one may open files in `prepare`."""
        self._parts.append(part)

    def run(self, read: Callable[[], ServerConfiguration]) -> None:
        """Read a configuration and apply it; log the result in one line.

        `read` may raise ConfigurationError; then, as after any other problem, nothing changes.
        """
        self.successful = False
        try:
            configuration = read()
            apply = [part.prepare(configuration) for part in self._parts]
        except ConfigurationError as problem:
            self._log.error("reload refused, nothing has changed: {problems}", problems="; ".join(problem.problems))
            return
        for each in apply:
            each()
        self._log_result(configuration)
        self._applied = configuration
        self.successful = True
        self.succeeded_at = self._wall_clock()

    def _log_result(self, new: ServerConfiguration) -> None:
        applied = [each.name for each in changed_options(self._applied, new) if not self._needs_restart(each, new)]
        waiting = [each.name for each in changed_options(self._started, new) if self._needs_restart(each, new)]
        result = f"applied {', '.join(applied)}" if applied else "no changed option to apply"
        files = "; loaded the certificate again" if self._keeps_tls(new) else ""
        if waiting:
            self._log.warn(
                "reload: {result}{files}; a restart is needed for: {waiting}",
                result=result,
                files=files,
                waiting=", ".join(waiting),
            )
        else:
            self._log.info("reload: {result}{files}", result=result, files=files)

    def _needs_restart(self, option: Option, new: ServerConfiguration) -> bool:
        return not option.reloadable or (option.field in _TLS_FILES and not self._keeps_tls(new))

    def _keeps_tls(self, new: ServerConfiguration) -> bool:
        """Return whether the TLS files of the new configuration take the place of those in use."""
        return self._started.tls_certificate is not None and new.tls_certificate is not None
