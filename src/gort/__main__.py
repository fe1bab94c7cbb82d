"""`python -m gort` is the command `gort`."""

from gort.cli import main

if __name__ == "__main__":
    main()
