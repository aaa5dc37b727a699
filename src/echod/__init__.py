"""echod: a TCP echo daemon to be trusted with a port, and the probe that measures a path against it.

`echod.probe` has the public names of the probe; CONTRIBUTING.md lists the packages and their layers.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
