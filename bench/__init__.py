"""The benchmark: echod compared with other servers of the same exchange, on one machine, in interleaved runs.

`command` is the command line and the order of the measurements; `cases` the figures that are measured; `measure` the
processes of a measurement; `contenders` the servers; `clients` the measurements of echod as a client; `certificate` the
certificate for TLS; `report` and `picture` the results as text, JSON and SVG. Programs of their own are `load.c` and
`tls_load.py`, the loads; `scrapes.py`, the scraper; and the files in `servers`.
"""
