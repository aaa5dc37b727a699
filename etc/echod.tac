"""echod for `twistd -y`: the daemon, configured by the TOML file in ECHOD_CONFIG or by echod.toml beside this file:

    ECHOD_CONFIG=/etc/echod/echod.toml twistd -n --pidfile= -y echod.tac
"""

import os
from pathlib import Path

from echod.serve.daemon import application_from_file

configuration = os.environ.get("ECHOD_CONFIG") or str(Path(__file__).with_name("echod.toml"))

application = application_from_file(configuration)
