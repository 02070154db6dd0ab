"""``kdanalysis``, or ``python -m kdanalysis``: interrupted from the first import on, it says so."""

import sys


def main() -> None:
    """Load the commands and run that of this process's arguments."""
    try:
        from kdanalysis.cli.main import main as run
    except KeyboardInterrupt:
        print("kdanalysis: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
