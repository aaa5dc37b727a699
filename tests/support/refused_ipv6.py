"""Run a command in which every socket of IPv6 is refused: `python -m tests.support.refused_ipv6 ERRNO COMMAND...`.

A seccomp filter gives socket(AF_INET6, ...) the error number: 97, EAFNOSUPPORT, as a kernel without IPv6 does, or 24,
EMFILE, as for a process at its limit of descriptors. The filter cannot be removed, and child processes have it too.
"""

import ctypes
import os
import platform
import struct
import sys

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
"""The number of socket(2)."""

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
AF_INET6 = 10


def filter_program(error: int) -> bytes:
    """Return a BPF program for `struct seccomp_data`: the number of the call at 0, its first argument at 16."""
    steps = (
        (0x20, 0, 0, 0),  # load the number
        (0x15, 0, 3, SOCKET_CALL[platform.machine()]),  # another call: allow
        (0x20, 0, 0, 16),  # load the family
        (0x15, 0, 1, AF_INET6),  # another family: allow
        (0x06, 0, 0, 0x00050000 | error),  # SECCOMP_RET_ERRNO
        (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def refuse_ipv6(error: int) -> None:
    """Refuse sockets of IPv6 in this process, with an error number, from now on. Raises OSError."""
    program = ctypes.create_string_buffer(filter_program(error))
    header = ctypes.create_string_buffer(struct.pack("@HP", 6, ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    refuse_ipv6(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
