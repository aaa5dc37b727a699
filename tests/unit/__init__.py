"""Tests without a running reactor, under trial and under pytest."""

from hypothesis import settings

# How long an example takes is no property of echod: on a busy machine any of them may take longer than the default.
settings.register_profile("echod", deadline=None)
settings.load_profile("echod")
