"""Entry point of `python tests/testbed COMMAND`."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from testbed.cli import main

if __name__ == "__main__":
    sys.exit(main())
