"""Names that files use for code, in place of module paths: a later move breaks no file.

A builder of `potstill.models` has its own name, `small_cnn`; what a plugin brings has the plugin's
before it, `mylab:my_net`. Names are read from source, nothing is imported.
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from potstill.config.introspect import Definition, find
from potstill.config.plugins import active
from potstill.config.signatures import signature

OURS = "potstill."


def builder_target(name: str) -> str | None:
    """Return the dotted name of the builder that `name` means; None where there is none.

    A builder is a public function or class that takes `num_classes`.

    >>> builder_target("small_cnn")
    'potstill.models.small_cnn.small_cnn'
    """
    found = _named(name)
    takes = signature(found) if found is not None else None
    return found.name if found is not None and takes and "num_classes" in takes.names else None


def builder_name(target: str) -> str | None:
    """Return the name of the builder that a `_target_` calls; None where it is none.

    >>> builder_name("potstill.models.small_cnn.small_cnn")
    'small_cnn'
    """
    found = find(target)
    if found is None:
        return None
    for prefix, package in _packages().items():
        name = f"{prefix}:{found.node.name}" if prefix else found.node.name
        if f"{found.name}.".startswith(f"{package}.") and builder_target(name) == found.name:
            return name
    return None


def transform_target(kind: str) -> str | None:
    """Return the dotted name of a plugin's function that rebuilds a transform `PLUGIN:FUNCTION`.

    It takes `network` first.
    """
    found = _named(kind) if ":" in kind else None
    takes = signature(found) if found is not None else None
    return found.name if found is not None and takes and takes.names[:1] == ("network",) else None


def by_name(value: Any) -> Any:
    """Return plain settings with the names of what they call where module paths stood.

    Builders have theirs, what else is of potstill its last part; what is a library's stays.

    >>> by_name({"_target_": "potstill.training.schedules.cosine", "floor": 0.0})
    {'_target_': 'cosine', 'floor': 0.0}
    """
    if isinstance(value, dict):
        return {k: _short(v) if k == "_target_" else by_name(v) for k, v in value.items()}
    return [by_name(item) for item in value] if isinstance(value, list) else value


def _short(target: str) -> str:
    name = builder_name(target)
    if name is None:
        return target.rpartition(".")[2] if target.startswith(OURS) else target
    return name


def _packages() -> dict[str, str]:
    """Return the package whose code a name means, by what stands before the colon."""
    return {"": "potstill.models", **{plugin.name: plugin.name for plugin in active()}}


def _named(name: str) -> Definition | None:
    prefix, _, short = name.rpartition(":")
    package = _packages().get(prefix)
    dotted = _public(package).get(short) if package is not None else None
    return find(dotted) if dotted is not None else None


@cache
def _public(package: str) -> dict[str, str]:
    """Return the dotted name of each public function and class of a package, by its last part."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return {}
    file, found = Path(spec.origin), dict[str, str]()
    files = sorted(file.parent.rglob("*.py")) if spec.submodule_search_locations else [file]
    for path in files:
        module = ".".join([package, *path.relative_to(file.parent).with_suffix("").parts])
        module = module.removesuffix(".__init__") if len(files) > 1 else package
        for node in ast.parse(path.read_bytes()).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            if not node.name.startswith("_"):
                found.setdefault(node.name, f"{module}.{node.name}")
    return found
