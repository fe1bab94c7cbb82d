"""sysmon, which watches the other threads; its reports; signals and their way to channels."""
