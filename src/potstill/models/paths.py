"""Paths of modules in a network, such as `layer4.0.conv1`."""

from collections.abc import Iterable


def is_under(path: str, prefixes: Iterable[str]) -> bool:
    """Return whether `path` is one of the modules `prefixes` or inside one.

    Example:
        >>> is_under("layer4.0.conv1", ["layer4"]), is_under("layer40.conv1", ["layer4"])
        (True, False)
    """
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)
