"""Classes and functions that plugins offer, by kind, read from source for --help."""

import ast
from collections.abc import Iterator

from potstill.config.introspect import Definition, descends
from potstill.config.kinds import KINDS, Kind
from potstill.config.plugins import Plugin, active, import_from
from potstill.config.sources import module_of


def offered() -> list[str]:
    """Return a line for each active plugin and one for each class or function it offers."""
    return [line for plugin in active() for line in _lines(plugin)]


def import_offers(kind: str) -> None:
    """Import the modules of plugins in which something of a kind is defined.

    Raises:
        ConfigError: with the reason, if one does not import.
    """
    for plugin in active():
        for name in [found.source.name for one, found in _offers(plugin) if one == kind]:
            import_from(name, f"plugins=[{plugin.name}]")


def _lines(plugin: Plugin) -> Iterator[str]:
    yield f"plugin {plugin.name}: {plugin.place}"
    for kind, found in _offers(plugin):
        first = (ast.get_docstring(found.node) or "").partition("\n")[0]
        yield f"  {kind:<10} {found.name:<36} {first}".rstrip()


def _offers(plugin: Plugin) -> list[tuple[str, Definition]]:
    """Return (kind, what it is) of the plugin's public names, in the order of the kinds."""
    public = list(_public(plugin))
    found = [(name, one) for name, kind in KINDS.items() for one in public if _is(one, kind)]
    # A head is a module as well, which would make it a model: the first kind counts.
    return [pair for pair in found if pair == next(p for p in found if p[1] == pair[1])]


def _is(definition: Definition, kind: Kind) -> bool:
    return bool(kind.bases) and descends(definition, kind.bases) is True


def _public(plugin: Plugin) -> Iterator[Definition]:
    for file in plugin.files:
        source, rest = module_of(plugin.module(file))
        if source is None or rest:
            continue
        for node in source.statements:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                yield Definition(node, source)
