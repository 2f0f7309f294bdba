"""The old spelling of `potstill measure`, understood for one release."""

import sys

from potstill.benchmark.command import main

if __name__ == "__main__":
    print("python -m potstill.measure: is now `potstill measure`", file=sys.stderr)
    sys.exit(main())
