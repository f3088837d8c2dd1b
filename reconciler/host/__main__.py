"""The command line as `python -m reconciler.host`, where no script is installed."""

import sys

from reconciler.host.cli import main

if __name__ == "__main__":
    sys.exit(main())
