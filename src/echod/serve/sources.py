"""The sources of the daemon's configuration: command line, environment, file and the sockets that systemd passed.

A reload reads the file again.
"""

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from echod.common.errors import ConfigurationError, Problems
from echod.common.options import (
    Layer,
    command_line_layer,
    configure,
    environment_layer,
    file_layer,
    ignored_variables,
)
from echod.serve.inherited_sockets import inherited_sockets, replaced_options, socket_layer, unused_names
from echod.server.config import ServerConfiguration

__all__ = ["CONFIG_VARIABLE", "ENVIRONMENT_HELP", "ConfigurationSources"]

CONFIG_VARIABLE = "ECHOD_CONFIG"
"""The environment variable with the name of the configuration file."""

ENVIRONMENT_HELP = (
    "Each option can also be an environment variable: ECHOD_ and its name in upper case, with underscores, such as "
    "ECHOD_TLS_PORT=3006, ECHOD_KEEP_ALIVE=true, or ECHOD_ALLOW=192.0.2.0/24,::1 for a repeatable one. The command "
    "line wins over the environment, and the environment over the file."
)
"""The paragraph about the environment in the usage messages."""


class ConfigurationSources:
    """The command line wins over the environment, and the environment over the file.

    Sockets that systemd passed take the place of ports.
    """

    def __init__(
        self,
        given: Sequence[tuple[str, str]],
        config: str | None,
        environment: Mapping[str, str],
        refuse: Callable[[ServerConfiguration], None] = lambda _: None,
    ) -> None:
        """`given` are the options of the command line: pairs of name and text. `config` is the file that it names.

        `refuse` raises ConfigurationError for a configuration that this process cannot have. Raises ConfigurationError
        if a descriptor that `environment` says systemd passed is not a socket.
        """
        self._sockets = inherited_sockets(environment, os.getpid())
        self._socket_warnings: list[str] = []
        self._refuse = refuse
        self._given = tuple(given)
        self._environment = dict(environment)
        self._named_by = CONFIG_VARIABLE if config is None else "--config"
        self.file = config or environment.get(CONFIG_VARIABLE) or None
        """The configuration file as the user wrote it; None: there is none."""
        # A daemon may change its directory after the start, as twistd does with --rundir.
        self._path = None if self.file is None else Path(self.file).absolute()

    def read(self) -> ServerConfiguration:
        """Return the configuration. Raises ConfigurationError, with the problems of all sources."""
        layers: list[Layer] = []
        problems = Problems()
        with problems.collected():
            layers.extend(self._file_layers())
        with problems.collected():
            layers.append(environment_layer(ServerConfiguration, self._environment))
        with problems.collected():
            layers.append(command_line_layer(ServerConfiguration, self._given))
        problems.raise_if_any()
        sockets = socket_layer(self._sockets, layers)
        configuration = configure(ServerConfiguration, [*layers, sockets])
        self._refuse(configuration)
        self._socket_warnings = self._warnings_about_sockets(configuration, replaced_options(sockets, layers))
        return configuration

    def read_again(self) -> ServerConfiguration:
        """Return the configuration at a reload. Raises ConfigurationError, also if the file is not a regular file.

        A pipe would block the daemon, or be empty, which would be taken for a file without options.
        """
        if self._path is not None and self._path.exists() and not self._path.is_file():
            raise ConfigurationError(f"{self.file}: is not a regular file, and cannot be read again")
        return self.read()

    def warnings(self) -> list[str]:
        """Return a line for each variable, option and socket that the configuration ignores, as of the last `read`."""
        return [*ignored_variables(ServerConfiguration, self._environment, CONFIG_VARIABLE), *self._socket_warnings]

    def display_name(self) -> str:
        """Return what a message calls the configuration."""
        return "the configuration" if self.file is None else f"the configuration file {self.file}"

    def _warnings_about_sockets(self, configuration: ServerConfiguration, replaced: Sequence[str]) -> list[str]:
        endpoints = (*configuration.listen, *configuration.tls_listen, configuration.admin or "")
        return [
            *([f"not used, because systemd passed a socket: {', '.join(replaced)}"] if replaced else []),
            *(
                f"the socket {name} from systemd belongs to no listener: its clients are not served"
                for name in unused_names(self._sockets, endpoints)
            ),
        ]

    def _file_layers(self) -> list[Layer]:
        if self.file is None or self._path is None:
            return []
        try:
            table = tomllib.loads(self._path.read_text(encoding="utf-8"))
        except OSError as problem:
            raise ConfigurationError(f"{self._named_by}: cannot read {self.file}: {problem.strerror}") from None
        except ValueError as problem:  # TOMLDecodeError and UnicodeDecodeError are subclasses
            raise ConfigurationError(f"{self.file}: is not TOML: {problem}") from None
        except RecursionError:
            raise ConfigurationError(f"{self.file}: is not TOML: too many nested values") from None
        return [file_layer(ServerConfiguration, table, self.file)]
