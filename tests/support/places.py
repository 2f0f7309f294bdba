"""Folders of the repository and of what lies beside it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SOURCE = ROOT / "src" / "potstill"
CONF_SAMPLE = ROOT / "tests" / "conf_sample"
SHARED = Path(os.environ.get("POTSTILL_SHARED", ROOT.parent / "shared"))
GOLDEN = ROOT / "tests" / "golden"
