"""The boot as it is followed: what is watched, the stations, the calls."""
