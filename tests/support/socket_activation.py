"""Run a command with an inherited socket, as systemd does: `python FILE NAME PORT BACKLOG COMMAND...`.

The socket is a dual-stack one. The command has the process id of this script.
"""

import os
import socket
import sys

FIRST = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

if __name__ == "__main__":
    name, port, backlog, *command = sys.argv[1:]
    listening = socket.create_server(
        ("::", int(port)), family=socket.AF_INET6, backlog=int(backlog), dualstack_ipv6=True
    )
    if listening.fileno() == FIRST:
        listening.set_inheritable(True)
    else:
        os.dup2(listening.fileno(), FIRST)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=name)
    os.execv(command[0], command)
