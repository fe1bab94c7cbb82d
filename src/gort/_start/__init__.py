"""What keeps a start short: modules loaded at first use, stand-ins for cython and typing, the choice of the core."""
