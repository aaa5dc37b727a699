"""echod against other servers of the same exchange, on one machine, in one run.

`command` is the command line and the order of the measurements, `cases` what is measured,
`measure` how, `contenders` the servers, `clients` the cases in which echod is the client,
`report` and `picture` what is made of the figures.
"""
