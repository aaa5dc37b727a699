"""Fuzzing: targets with their properties, and the inputs that every run of the unit tests replays.

- `targets`: one function for each target; it raises for an input that breaks a property
- `corpus`: files of inputs, a folder for each target
- `python -m tests.fuzz`: searches for further inputs with atheris (libFuzzer), one target after the other
"""
