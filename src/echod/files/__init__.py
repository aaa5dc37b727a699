"""`echod files`: the systemd units, examples, alert rules, dashboard and schemas that are installed with echod."""
