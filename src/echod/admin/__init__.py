"""The admin server: health checks, metrics and a live page over HTTP, all read-only.

- `connection_totals`: counts over open and ended connections
- `reactor_lag`: the tick of once a second, and how late each was
- `daemon_view`: the daemon's state and counters, read-only
- `metric_family`: metrics as plain values, and how those of several processes are combined
- `process_metrics`: CPU time, memory and descriptors of the process
- `snapshot`: state and metrics at one moment, of a process or of several
- `process_directory`: the files by which processes share their snapshots
- `process_group`: the processes of the service, shown as one
- `metrics`: the metrics of the daemon, and the Prometheus exposition
- `live_page`: the event stream of the live page
- `pages`: the response of each path
- `http_request`: the parser of requests
- `http_server`: connections, their limits, and which request gets which page
- `service`: the daemon and the admin server as one service

Imported only if `--admin` is given.
"""
