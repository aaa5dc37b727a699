"""What the records of `echod ping` are made of: the file that --payload names is read here."""

import os
from dataclasses import replace
from pathlib import Path

from echod.client.record import RecordSource, described_records, random_records, repeated_records, zero_records
from echod.common.defaults import LARGEST_RECORD
from echod.common.errors import ConfigurationError
from echod.ping.config import PingConfiguration

__all__ = ["payload_of"]


def payload_of(configuration: PingConfiguration) -> tuple[PingConfiguration, RecordSource]:
    """Return where the records come from, and the configuration with their size. Raises ConfigurationError."""
    if configuration.payload is None:
        return configuration, described_records(int.from_bytes(os.urandom(8)))
    if configuration.payload == "random":
        return configuration, random_records(os.urandom)
    if configuration.payload == "zero":
        return configuration, zero_records()
    return _from_file(configuration, configuration.payload)


def _from_file(configuration: PingConfiguration, path: str) -> tuple[PingConfiguration, RecordSource]:
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST_RECORD + 1)  # which of a device would have no end
    except (OSError, ValueError) as problem:  # a path with a null byte is a ValueError
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise ConfigurationError(f"--payload: cannot read {path}: {why}") from None
    size = len(data) if configuration.size is None else configuration.size
    if size == 0:
        raise ConfigurationError(f"--payload: {path} is empty")
    if size > LARGEST_RECORD:
        raise ConfigurationError(f"--payload: {path} has more than {LARGEST_RECORD} bytes")
    if size > len(data):
        raise ConfigurationError(f"--size: {size} bytes are more than the {len(data)} of {path}")
    return replace(configuration, size=size), repeated_records(data)
