"""Distil an image classifier: `python train.py`, then `python train.py --help`."""

import sys
from pathlib import Path

from potstill.cli import train

if __name__ == "__main__":
    sys.exit(train.main(Path(__file__).parent / "conf"))
