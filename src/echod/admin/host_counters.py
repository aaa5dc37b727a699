"""What the kernel counts of the host, or rather of the network namespace that the daemon runs in."""

from pathlib import Path

__all__ = ["listen_overflows"]

NETSTAT = Path("/proc/net/netstat")


def listen_overflows(path: Path = NETSTAT) -> int | None:
    """Return how many handshakes found a full accept queue, any listener's: TcpExtListenOverflows.

    None where the kernel does not tell. The file has pairs of lines, of names and of their values (proc(5)).
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names.startswith("TcpExt:"):
            told = dict(zip(names.split(), values.split(), strict=False)).get("ListenOverflows", "")
            return int(told) if told.isdigit() else None
    return None
