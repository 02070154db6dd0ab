"""``kdanalysis``, or ``python -m kdanalysis``: interrupted from the first import on, it says so."""

import sys


def main() -> None:
    """Load the commands and run that of this process's arguments."""
    try:
        from kdanalysis.cli.main import main as run

        run()
    except KeyboardInterrupt:  # before a command begins, which sees to it itself
        print("kdanalysis: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
