"""`python -m tests.fuzz [--seconds S] [TARGET ...]`: fuzz each target in turn, for the seconds in all.

An input that breaks a property is written to the corpus, where the unit tests replay it, and the exit status is 1.
"""

# ruff: noqa: T201
# What it prints is its output.

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import atheris

SLOWEST = 10
"""Seconds after which an input is a finding."""
LONGEST = 10_000
"""Bytes of an input: more than the longest head of a request."""
EVENTS = 60
"""Bytes of an input whose bytes are events, of which each takes time."""
MEMORY = 1024
"""MiB."""
LONGEST_REPORT = 10_000
"""Characters of the output of a target with a finding; its end."""

_RUNS = "stat::number_of_executed_units:"


def main(words: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    if words[:1] == ["--one"]:
        _fuzz(words[1], words[2:])
    from tests.fuzz.targets import CORPUS, STEPPED, TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds in all (default: %(default)s)")
    parser.add_argument("targets", metavar="TARGET", nargs="*", choices=[[], *TARGETS], help=", ".join(TARGETS))
    options = parser.parse_args(words)
    names = options.targets or list(TARGETS)
    broken = []
    for name in names:
        seeds = CORPUS / name
        # New inputs that reach more code go to the first folder, and are lost with it.
        with tempfile.TemporaryDirectory() as found:
            command = (
                *(sys.executable, "-m", "tests.fuzz", "--one", name, found, str(seeds)),
                *(f"-max_total_time={max(1, round(options.seconds / len(names)))}", f"-timeout={SLOWEST}"),
                *(
                    f"-max_len={EVENTS if name in STEPPED else LONGEST}",
                    f"-rss_limit_mb={MEMORY}",
                    "-verbosity=0",
                    "-print_final_stats=1",
                ),
                f"-artifact_prefix={seeds}/",
            )
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{name}: {finished.stderr.partition(_RUNS)[2].partition(chr(10))[0].strip() or '?'} runs", flush=True)
        if finished.returncode:
            broken.append(name)
            print(finished.stdout, finished.stderr[-LONGEST_REPORT:], sep="\n", flush=True)
    print(f"findings in: {', '.join(broken)}" if broken else "no finding")
    return 1 if broken else 0


def _fuzz(name: str, arguments: Sequence[str]) -> None:
    """Fuzz one target until libFuzzer ends the process."""
    with atheris.instrument_imports(include=["echod"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
