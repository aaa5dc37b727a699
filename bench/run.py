"""The benchmark's command: `python bench/run.py --help`. README.md describes the measurements."""

import sys
from pathlib import Path


def main() -> int:
    """Run the command; return its exit status. It works from any directory."""
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from bench.command import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
