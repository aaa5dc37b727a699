"""The `twistd echod` plugin: its options and its service."""

import os
from collections.abc import Callable, Sequence
from functools import partial

from twisted.application.service import Service
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from echod.cli.process import error_line
from echod.common.errors import ConfigurationError
from echod.common.options import options_of
from echod.serve.check import Check
from echod.serve.command import run_check
from echod.serve.daemon import daemon, log_of_twistd, refuse_for_twistd
from echod.serve.sources import ENVIRONMENT_HELP, ConfigurationSources
from echod.server.config import ServerConfiguration

__all__ = ["Options", "makeService"]


class Options(UsageOptions):
    """The options of `twistd echod`: the fields of `ServerConfiguration`."""

    synopsis = "[options]"
    longdesc = f"A TCP echo daemon: waits for one whole record, echoes it, and closes. {ENVIRONMENT_HELP}"

    configuration: ServerConfiguration
    """The configuration, once the options are parsed."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []
        self.config: str | None = None
        self.check: Check | None = None
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's Options has no annotations

    def opt_config(self, path: str) -> None:
        """TOML file with the same names (default: the file that ECHOD_CONFIG names); the command line wins."""
        self.config = path

    def opt_check(self) -> None:
        """Check the configuration and the files that it names, then exit: status 0 if all is valid."""
        self.check = Check.START

    def opt_check_reload(self) -> None:
        """As --check, and refuse systemd credentials, which a reload cannot renew."""
        self.check = Check.RELOAD

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse and check the options.

        Raises SystemExit with one line. For a UsageError twistd would print its whole help text first, and the error
        last.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]  # likewise
        except (UsageError, ConfigurationError) as problem:
            raise SystemExit(error_line(f"twistd echod: {problem}")) from None

    def postOptions(self) -> None:
        """Make the configuration, so that an invalid one is refused before anything listens."""
        parent = getattr(self, "parent", None) or {}
        self.twistd = parent if "nodaemon" in parent else None  # twist, which has no such option, logs by itself
        refuse = partial(refuse_for_twistd, self.twistd)
        self.sources = ConfigurationSources(self.given, self.config, os.environ, refuse)
        if self.check is not None:
            raise SystemExit(0 if run_check("twistd echod", self.sources, self.check) else 1)
        self.configuration = self.sources.read()


def makeService(options: Options) -> Service:
    """Return the daemon for the parsed options. Raises SystemExit with one line."""
    try:
        log = log_of_twistd(options.configuration, options.twistd)
        return daemon(options.configuration, options.sources, log)
    except ConfigurationError as problem:
        raise SystemExit(error_line(f"twistd echod: {problem}")) from None


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
