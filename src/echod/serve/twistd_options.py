"""The face of the `twistd echod` plugin: its options, and its service."""

import sys
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.logger import FileLogObserver
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from echod.common.errors import ConfigurationError
from echod.common.options import options_of
from echod.serve.daemon import daemon, server_configuration
from echod.serve.json_log import json_observer
from echod.server.config import ServerConfiguration

__all__ = ["Options", "makeService"]


class Options(UsageOptions):
    """The daemon's options as `twistd echod` reads them: those that `ServerConfiguration` declares."""

    synopsis = "[options]"
    longdesc = "A TCP echo daemon: waits for one whole record, echoes it, and closes."

    configuration: ServerConfiguration
    """What was asked for, once the options are parsed."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []
        self.config: str | None = None
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Options has no annotations

    def opt_config(self, path: str) -> None:
        """TOML file with the same names; the command line wins."""
        self.config = path

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, and check all of it.

        Raises SystemExit with one line: to a UsageError twistd would answer with its whole
        help text, and the line that says what is wrong would come last.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]  # likewise
        except (UsageError, ConfigurationError) as problem:
            raise SystemExit(f"twistd echod: {problem}") from None

    def postOptions(self) -> None:
        """Make the configuration, so that what cannot be is refused before anything listens."""
        self.configuration = server_configuration(self.given, self.config)
        if self.configuration.log_format == "json":
            self._log_as_json()

    def _log_as_json(self) -> None:
        """Name our observer to twistd, which asks for one by its dotted name, and then knows no log file."""
        twistd = getattr(self, "parent", {})
        if twistd.get("logfile") or twistd.get("syslog") or not twistd.get("nodaemon", True):
            raise UsageError(
                "log-format json goes to standard output: with twistd -n, and neither --logfile nor --syslog"
            )
        if not twistd.get("logger"):
            twistd["logger"] = f"{__name__}.{json_log.__name__}"


def json_log() -> FileLogObserver:
    """Return twistd's log observer for `log-format json`."""
    return json_observer(sys.stdout)


def makeService(options: Options) -> Service:
    """Return the daemon that the options ask for."""
    try:
        return daemon(options.configuration)
    except ConfigurationError as problem:
        raise SystemExit(f"twistd echod: {problem}") from None


def _handler(name: str, about: str) -> Callable[[Options, str], None]:
    def handler(self: Options, value: str) -> None:
        self.given.append((name, value))

    handler.__doc__ = about
    return handler


def _flag_handler(name: str, value: str, about: str) -> Callable[[Options], None]:
    def handler(self: Options) -> None:
        self.given.append((name, value))

    handler.__doc__ = about
    return handler


def _declare() -> None:
    """Give `Options` an `opt_` method for each option, the form in which Twisted finds them."""
    for each in options_of(ServerConfiguration):
        if each.type.metavar:
            handler: Callable[..., None] = _handler(each.name, each.help_with_default)
            setattr(Options, f"opt_{each.field}", handler)
            if each.short:
                setattr(Options, f"opt_{each.short}", handler)
        else:
            for word, value, about in each.flag_words:
                setattr(Options, f"opt_{word.replace('-', '_')}", _flag_handler(each.name, value, about))


_declare()
