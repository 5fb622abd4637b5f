"""``python -m jdetrt``: the command line."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still loading ends it without a traceback, too."""
    try:
        from jdetrt.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
