"""Floor 3: the daemon as others see it: whether it lives, its metrics, and a page to look at.

`totals` is what its connections came to, `pulse` how late the reactor is, `host` what the kernel counts, and `daemon`
puts those and the service's own state together. From it `metrics` makes what Prometheus reads, and `live`
what the page shows. `web` is an HTTP server with nothing in it that could change the daemon, `requests` what it takes,
`pages` what it has, `answers` how that looks on the wire, and `service` how long it lives: from before the first
listener to after the last connection.

Without --admin nothing of this is imported.
"""
