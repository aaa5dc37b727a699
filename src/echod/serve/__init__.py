"""`echod serve`, `twistd echod` and etc/echod.tac: the daemon in a process, and its logs."""
