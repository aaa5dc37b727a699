"""`python -m echod` is the `echod` command."""

import sys

from echod.main import main

if __name__ == "__main__":
    sys.exit(main())
