"""Floor 4: the command lines. The only room that touches argv, stdout and the global reactor.

`main` is the `echod` command, `tap` the `twistd echod` plugin's face; `launch` is what those two and
etc/echod.tac share.
"""
