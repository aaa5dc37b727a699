"""Floor 1: what the two sides of TLS have in common: files, and the versions and suites that are spoken."""
