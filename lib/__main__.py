"""The command line: ``python -m lib --help``."""

import sys

from lib.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
