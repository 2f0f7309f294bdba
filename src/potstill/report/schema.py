"""Shapes of what report.json holds, compared with what a file brings before a page is drawn."""

import math
from collections.abc import Mapping
from typing import Any

REST = "*"  # in a shape of a mapping: the values of all other keys
LARGEST = 1e300


class Whole(dict[str, Any]):
    """The shape of a mapping that lacks none of its keys."""


NUMBER, TEXT = (int, float, type(None)), (str, type(None))
NUMBERS = [NUMBER]
SCORE = {
    **dict.fromkeys(("name", "heading", "unit", "short", "best"), (str,)),
    "mode": ("max", "min"),
    "counts_images": (bool,),
    "of_files": (bool,),
}
ANSWER = [(str, int, float)]
COUNTS = [(int,)]
REPORT: dict[str, Any] = {
    "rows": [{"name": (str,), "stage": (str,), "latency_engine": TEXT, REST: NUMBER}],
    "machine": {REST: None},
    "meta": {REST: None},
    "scoring": {"task": (str,), "scores": [SCORE], "same": (str,), "note": (str,)},
    "subject": (str,),
    "class_names": [(str,)],
    "class_accuracy": {REST: NUMBERS},
    "reliability": {REST: {REST: NUMBERS}},
    "examples": [{"position": (int,), "target": (str,), "ours": ANSWER}],
    "charts": [Whole(title=(str,), x=(str,), y=(str,), points={REST: [NUMBERS]})],
    "curves": {REST: {REST: [NUMBERS]}},
    "config": {REST: None},
}
EXPORTED = {
    **dict.fromkeys(("name", "format"), (str,)),
    **dict.fromkeys(("path", "runtime", "error"), TEXT),
    "beside": [(str,)],
    "sqnr_db": None,  # infinite, where nothing differs
    REST: NUMBER,
}
CONFUSION = Whole(
    dict.fromkeys(("support", "correct", "true", "predicted", "images"), COUNTS), left_out=(int,)
)


def check_shape(value: Any, shape: Any, place: str) -> None:
    """Raise where a value that JSON gave has another shape; a key may be missing.

    Args:
        value: what the file has.
        shape: types or values it may be, in a tuple; or that of a list's items, in a list; or
            those of a mapping's values by key; None for anything.
        place: of the value in the file, for the message.

    Raises:
        ValueError: naming the place.

    >>> check_shape({"rows": [1]}, {"rows": [(str,)]}, "report")
    Traceback (most recent call last):
    ValueError: report.rows[0] is int
    """
    if isinstance(shape, list) and isinstance(value, list):
        for number, item in enumerate(value):
            check_shape(item, shape[0], f"{place}[{number}]")
    elif isinstance(shape, Mapping) and isinstance(value, Mapping):
        if isinstance(shape, Whole) and (missing := shape.keys() - value.keys()):
            raise ValueError(f"{place} has no {min(missing)}")
        for key, item in value.items():
            check_shape(item, shape.get(key, shape.get(REST)), f"{place}.{key}")
    elif isinstance(shape, tuple):
        _check_leaf(value, shape, place)
    elif shape is not None:
        raise ValueError(f"{place} is {type(value).__name__}")


def _check_leaf(value: Any, kinds: tuple[Any, ...], place: str) -> None:
    if type(value) not in kinds and value not in kinds:
        raise ValueError(f"{place} is {type(value).__name__}")
    # Also NaN, which JSON has not but Python reads.
    if isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        raise ValueError(f"{place} is no number: {value if math.isnan(value) else 'too large'}")
