"""What watches the others: sysmon, its reports, signals and their way to channels."""
