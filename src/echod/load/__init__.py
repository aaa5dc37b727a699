"""`echod load` and `echod report`: load on an echo server, measured from the time at which each record is due.

| subject | module |
| --- | --- |
| the options | `config` |
| the due times of an open loop | `schedule` |
| the load of one process: records and connections | `generator` |
| one process and its messages | `worker`, `worker_process` |
| all processes of a run | `worker_pool` |
| one run, or the runs of a search | `runner`, `search` |
| merged counts and histograms | `statistics` |
| terminal output | `text` |
| the JSON object: writer and reader | `result`, `result_reader`, load.schema.json |
| the HTML page | `report_page`, static/ |
| the commands | `command`, `report_command` |

A generator connects and verifies as a probe does, with the same outcomes. It builds no result object for a record.
"""
