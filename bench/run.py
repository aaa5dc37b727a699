"""The benchmark: `python bench/run.py --help`. README.md beside it says what is measured and how."""

import sys
from pathlib import Path


def main() -> int:
    """Run the command, from whatever directory it is called."""
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from bench.command import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
