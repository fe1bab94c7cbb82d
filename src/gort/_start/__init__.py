"""Code that runs when gort is imported and keeps that fast: modules loaded at first use, stand-ins for cython and
typing, the choice of the core and its check."""
