"""The admin server: health checks, metrics and a live page over HTTP, all read-only.

- `connection_totals`: counts over open and ended connections
- `reactor_lag`: the tick of once a second, and how late each was
- `daemon_view`: the daemon's state and counters, read-only
- `metrics`: the Prometheus exposition
- `live_page`: the event stream of the live page
- `pages`: the response of each path
- `http_request`: the parser of requests
- `http_server`: connections, their limits, and which request gets which page
- `service`: the daemon and the admin server as one service

Imported only if `--admin` is given.
"""
