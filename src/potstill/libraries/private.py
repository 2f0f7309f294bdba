"""Private names of other libraries, looked up before anything depends on them.

Each library that has some in use has a module here: nothing else in the package may name them.
"""

import inspect
import pkgutil
from collections.abc import Mapping, Sequence

Names = Mapping[str, Sequence[str]]


def missing(names: Names) -> list[str]:
    """Return those names that are gone, or that take other parameters.

    Args:
        names: dotted paths, each with the parameters in use; none for what is not called.

    Example:
        >>> missing({"math.gcd": (), "math.cube": (), "json.dumps": ("object",)})
        ['math.cube', 'json.dumps(object)']
    """
    return [fault for name, parameters in names.items() if (fault := _fault(name, parameters))]


def _fault(name: str, parameters: Sequence[str]) -> str:
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return name
    if not parameters:
        return ""
    taken = tuple(inspect.signature(found).parameters)
    fits = taken[: len(parameters)] == tuple(parameters)
    return "" if fits else f"{name}({', '.join(parameters)})"
