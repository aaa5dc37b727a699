"""Floor 3: what is written down. The access log, the log's JSON form, and the sum of what repeats."""
