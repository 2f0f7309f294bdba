"""The old spelling of `potstill report`, understood for one release."""

import sys

from potstill.report.command import main

if __name__ == "__main__":
    print("python -m potstill.report: is now `potstill report`", file=sys.stderr)
    sys.exit(main())
