"""TLS for server and client: PEM files, protocol versions and cipher suites."""
