"""Facts that a network's file holds for whoever uses it, checked before they are used."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from potstill.errors import DataError

LARGEST_SIDE = 2**16  # pixels


def check_facts(facts: Mapping[str, Any], source: str, needed: Iterable[str] = ()) -> None:
    """Raise unless what is known of `facts` has the types and ranges that its readers rely on.

    Known are `class_names`, `output`, `mean`, `std`, `image_shape` and `preprocess`; a task of a
    plugin may have added others. `needed` names those that must be there.

    Raises:
        DataError: naming the key.
    """
    for key in needed:
        if key not in facts:
            raise _wrong(source, key, "missing")
    for key, (fits, what) in _RULES.items():
        if key in facts and not fits(facts[key]):
            raise _wrong(source, key, f"not {what}")
    channels = facts.get("image_shape", [None])[0]
    for key in ("mean", "std"):
        if channels and key in facts and len(facts[key]) != channels:
            raise _wrong(source, key, f"not {channels} numbers, one for each channel")


def _wrong(source: str, key: str, what: str) -> DataError:
    return DataError(f"{source}: {key} is {what}. Fix: a file that potstill wrote")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_SIDE


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


def _are_divisors(value: Any) -> bool:
    return _are_numbers(value) and all(number > 0 for number in value)


def _is_image_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_side, value))


def _is_preprocess(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_side(value[key]) for key in ("resize", "crop") if key in value
    )


def _is_output(value: Any) -> bool:
    shape = value.get("shape") if isinstance(value, dict) else None
    return isinstance(shape, list) and bool(shape) and type(shape[-1]) is int and shape[-1] > 0


_SIDES = f"from 1 to {LARGEST_SIDE}"
_RULES = {
    "class_names": (_are_names, "a list of names"),
    "output": (_is_output, "a mapping with a shape that ends in a number of outputs"),
    "mean": (_are_numbers, "a list of numbers"),
    "std": (_are_divisors, "a list of numbers above 0"),
    "image_shape": (_is_image_shape, f"channels, height and width, {_SIDES}"),
    "preprocess": (_is_preprocess, f"a mapping with resize and crop {_SIDES}"),
}
