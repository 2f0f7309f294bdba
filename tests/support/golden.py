"""Values that the official code of each method gives, by name, with their source."""

import json
from typing import Any

from tests.support.places import ROOT

FILES = ("kd_losses.json", "official_losses.json")
GOLDEN: dict[str, Any] = {
    name: value
    for file in FILES
    for name, value in json.loads((ROOT / "tests" / "golden" / file).read_text()).items()
}


def golden(name: str) -> float:
    return GOLDEN[name]["value"]
