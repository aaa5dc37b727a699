"""Floor 3: load. What generates it (`generator`, over `lane`s), in processes of their own (`crew`), and the page of it.

It stands on the probe: a lane dials as a probe does, judges what comes back as a probe does, and tells of failures in
its words. What it leaves out is all that a probe makes for each record: a Deferred, a timer, a result.
"""
