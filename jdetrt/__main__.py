"""``python -m jdetrt``: the command line."""

from jdetrt.cli import main

if __name__ == "__main__":
    main()
