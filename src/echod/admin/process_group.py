"""The processes of one service, which are shown as one: a single process, or those that share a directory."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from twisted.application.service import Service

from echod.admin.metric_family import combined
from echod.admin.process_directory import ProcessDirectory
from echod.admin.snapshot import Snapshot, combined_snapshot

__all__ = ["ProcessGroup", "SharedDirectory", "SingleProcess"]


class ProcessGroup(Protocol):
    """The processes of one service."""

    def own(self) -> Snapshot:
        """Return the snapshot of this process alone."""

    def snapshot(self) -> Snapshot:
        """Return the snapshot of all processes."""


class SingleProcess:
    """A process that is the only one of its service. It uses no files."""

    def __init__(self, own: Callable[[], Snapshot]) -> None:
        self.own = own

    def snapshot(self) -> Snapshot:
        """Return the snapshot of the process."""
        return self.own()


class SharedDirectory(Service):
    """The processes of a `ProcessDirectory`, from the start of the service on."""

    def __init__(self, own: Callable[[], Snapshot], directory: ProcessDirectory) -> None:
        """`own` returns the snapshot of this process."""
        self.own = own
        self._directory = directory
        self._before: Snapshot | None = None
        """The last snapshot of the process that had this one's number before."""

    def startService(self) -> None:
        """Join the directory. Raises ConfigurationError."""
        super().startService()
        self._before = self._directory.join()
        self.snapshot()

    def stopService(self) -> None:
        """Write the last snapshot, and leave the directory."""
        self.snapshot()
        super().stopService()
        self._directory.leave()

    def snapshot(self) -> Snapshot:
        """Return the snapshot of all processes.

        What is returned is in the files: whichever process returns the next snapshot, no counter is lower in it.
        """
        own = self._with_counts_of_before(self.own())
        if self.running:
            self._directory.write(own)
        others = list(self._directory.others())
        return combined_snapshot(
            own,
            [each.snapshot for each in others if each.running],
            [each.snapshot for each in others if not each.running],
        )

    def _with_counts_of_before(self, own: Snapshot) -> Snapshot:
        if self._before is None:
            return own
        return replace(own, families=combined(own.families.values(), self._before.families.values()))
