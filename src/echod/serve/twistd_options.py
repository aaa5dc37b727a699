"""The `twistd echod` plugin: its options and its service."""

import sys
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.logger import FileLogObserver
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from echod.common.errors import ConfigurationError
from echod.common.options import options_of
from echod.serve.daemon import daemon_for_twistd, server_configuration
from echod.serve.log_lines import json_observer
from echod.server.config import ServerConfiguration

__all__ = ["Options", "makeService"]


class Options(UsageOptions):
    """The options of `twistd echod`: the fields of `ServerConfiguration`."""

    synopsis = "[options]"
    longdesc = "A TCP echo daemon: waits for one whole record, echoes it, and closes."

    configuration: ServerConfiguration
    """The configuration, once the options are parsed."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []
        self.config: str | None = None
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Options has no annotations

    def opt_config(self, path: str) -> None:
        """TOML file with the same names; the command line wins."""
        self.config = path

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse and check the options.

        Raises SystemExit with one line. For a UsageError twistd would print its whole help text first, and the error
        last.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]  # likewise
        except (UsageError, ConfigurationError) as problem:
            raise SystemExit(f"twistd echod: {problem}") from None

    def postOptions(self) -> None:
        """Make the configuration, so that an invalid one is refused before anything listens."""
        self.configuration = server_configuration(self.given, self.config)
        if self.configuration.log_format == "json":
            self._log_as_json()

    def _log_as_json(self) -> None:
        """Set the log observer of twistd, which takes it as a dotted name and then ignores its log file options."""
        twistd = getattr(self, "parent", {})
        if twistd.get("logfile") or twistd.get("syslog") or not twistd.get("nodaemon", True):
            raise UsageError(
                "log-format json writes to standard output: it needs twistd -n, without --logfile and --syslog"
            )
        if not twistd.get("logger"):
            twistd["logger"] = f"{__name__}.{json_log.__name__}"


def json_log() -> FileLogObserver:
    """Return the log observer of twistd for `log-format json`."""
    return json_observer(sys.stdout)


def makeService(options: Options) -> Service:
    """Return the daemon for the parsed options. Raises SystemExit with one line."""
    try:
        return daemon_for_twistd(options.configuration)
    except ConfigurationError as problem:
        raise SystemExit(f"twistd echod: {problem}") from None


def _handler(name: str, help_text: str) -> Callable[[Options, str], None]:
    def handler(self: Options, value: str) -> None:
        self.given.append((name, value))

    handler.__doc__ = help_text
    return handler


def _flag_handler(name: str, value: str, help_text: str) -> Callable[[Options], None]:
    def handler(self: Options) -> None:
        self.given.append((name, value))

    handler.__doc__ = help_text
    return handler


def _declare() -> None:
    """Add an `opt_` method to `Options` for each option: Twisted finds options by these names."""
    for option in options_of(ServerConfiguration):
        if option.type.metavar:
            handler: Callable[..., None] = _handler(option.name, option.help_with_default)
            setattr(Options, f"opt_{option.field}", handler)
            if option.short:
                setattr(Options, f"opt_{option.short}", handler)
        else:
            for word, value, help_text in option.flag_words:
                setattr(Options, f"opt_{word.replace('-', '_')}", _flag_handler(option.name, value, help_text))


_declare()
