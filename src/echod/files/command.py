"""`echod files`: lists the files that are installed with echod, prints one, or copies some to a directory."""

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from echod.cli.client_command import output_errors
from echod.common.errors import ConfigurationError, EchodError
from echod.common.files import write_atomically

__all__ = ["FILES", "add_arguments", "run"]

FILES = {
    "echod.toml": ("etc", "configuration of the daemon: each option with its default"),
    "echod.tac": ("etc", "application file for twistd -y, which reads echod.toml"),
    "echod.service": ("etc", "systemd: the daemon"),
    "echod.socket": ("etc", "systemd: its port, 3005"),
    "echod-tls.socket": ("etc", "systemd: its TLS port, 3006"),
    "echod-admin.socket": ("etc", "systemd: its admin port, 9305 on 127.0.0.1"),
    "echod@.service": ("etc", "systemd: one of several processes"),
    "echod@.socket": ("etc", "systemd: the port of each"),
    "echod-tls@.socket": ("etc", "systemd: the TLS port of each"),
    "echod-admin@.socket": ("etc", "systemd: the admin port of each, by which any shows the metrics of all"),
    "echod.logrotate": ("etc", "logrotate: rotation of the access log"),
    "prometheus-alerts.yml": ("etc", "Prometheus: alert rules"),
    "grafana-dashboard.json": ("etc", "Grafana: dashboard"),
    "ping.schema.json": ("ping", "JSON schema of echod ping --json"),
    "load.schema.json": ("load", "JSON schema of echod load --json"),
}
"""The folder in the package, and a description, of each file by name."""

MODE = 0o644


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="file to print; without a name, list all files")
    parser.add_argument("--install", metavar="DIR", help="copy the files to this directory, and make it if necessary")
    parser.add_argument("--force", action="store_true", help="with --install: replace files with other contents")


def run(namespace: argparse.Namespace) -> int:
    """List, print or copy files; return 0. Raises EchodError."""
    contents = {name: _content(name) for name in namespace.names}
    if namespace.install is not None:
        if not contents:
            raise ConfigurationError("--install requires the name of a file")
        _install(contents, Path(namespace.install), force=namespace.force)
        return 0
    if namespace.force:
        raise ConfigurationError("--force requires --install")
    if len(contents) > 1:
        raise ConfigurationError("more than one file: use --install")
    with output_errors():
        if contents:
            sys.stdout.buffer.write(*contents.values())
        else:
            width = max(map(len, FILES))
            print(*(f"{name:{width}}  {description}" for name, (_, description) in FILES.items()), sep="\n")
        sys.stdout.flush()
    return 0


def _content(name: str) -> bytes:
    if name not in FILES:
        raise ConfigurationError(f"no file {name!r}; `echod files` lists them")
    folder, _ = FILES[name]
    return files("echod").joinpath(folder, name).read_bytes()


def _install(contents: dict[str, bytes], directory: Path, *, force: bool) -> None:
    """Write all files to the directory, readable for everyone; none if one exists with other content."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            file = directory / name
            if not force and file.exists() and file.read_bytes() != content:
                raise EchodError(f"{file} exists and has other content; --force replaces it")
        for name, content in contents.items():
            write_atomically(directory / name, content)
            (directory / name).chmod(MODE)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise EchodError(f"--install: cannot write to {directory}: {reason}") from None
