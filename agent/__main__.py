"""`bocage`, or `python -m agent`. It imports next to nothing: Ctrl-C while modules load has no traceback either."""

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        from agent import cli

        return cli.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
