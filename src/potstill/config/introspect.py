"""Classes and functions by dotted name, their bases and constants, read from source."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from potstill.config import sources
from potstill.config.sources import ParsedModule, imports, module_of

_MAX_HOPS = 12
Assigned = tuple[ast.expr, ParsedModule]


@dataclass(frozen=True)
class Definition:
    """A class or function, and the module that holds its source."""

    node: ast.ClassDef | ast.FunctionDef
    source: ParsedModule

    @property
    def name(self) -> str:
        """The dotted name of where it is defined, wherever it was imported from."""
        return f"{self.source.name}.{self.node.name}"

    @property
    def is_function(self) -> bool:
        """Whether it is a function."""
        return isinstance(self.node, ast.FunctionDef)


@cache
def find(dotted: str, hops: int = _MAX_HOPS) -> Definition | None:
    """Return the class or function `dotted` names, following re-exports; `None` if not found."""
    source, rest = module_of(dotted)
    if source is None or len(rest) != 1 or hops == 0:
        return None
    return _lookup(source, rest[0], hops)


def assigned(source: ParsedModule, name: str, hops: int = _MAX_HOPS) -> Assigned | None:
    """Return the expression that a module assigns to `name`, and the module it stands in."""
    for node in reversed(source.statements):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=found)], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value)
            ) if found == name:
                return value, source
    for imported, dotted in imports(source) if hops else ():
        if imported == name:
            origin, rest = module_of(dotted)
            if origin is not None and len(rest) == 1:
                return assigned(origin, rest[0], hops - 1)
    return None


def class_constant(definition: Definition, name: str) -> object:
    """Return the constant assigned to `name` in a class or its first bases, else `None`."""
    if isinstance(definition.node, ast.FunctionDef):
        return None
    for statement in definition.node.body:
        match statement:
            case (
                ast.AnnAssign(target=ast.Name(id=assigned), value=ast.Constant(value=value))
                | ast.Assign(targets=[ast.Name(id=assigned)], value=ast.Constant(value=value))
            ) if assigned == name:
                return value
    parent = next(bases(definition), None)
    return class_constant(parent, name) if parent is not None else None


def descends(definition: Definition, ancestors: tuple[str, ...]) -> bool | None:
    """Return whether a class, or a function's return annotation, descends from any of these.

    Args:
        definition: the class or function.
        ancestors: dotted names of where the classes are defined.

    Returns:
        None where its source does not show it: a base that is computed, no return annotation.
    """
    if isinstance(definition.node, ast.FunctionDef):
        returns = definition.node.returns
        returned = named(definition.source, returns) if returns is not None else None
        if returned is None:
            return None
        return False if returned.is_function else descends(returned, ancestors)
    if definition.name in ancestors:
        return True
    found = [descends(base, ancestors) if base else None for base in bases(definition)]
    return True if True in found else None if None in found else False


def forget() -> None:
    """Look for everything again: the path has changed."""
    sources.forget()
    find.cache_clear()


def bases(definition: Definition) -> Iterator[Definition | None]:
    """Yield the bases of a class, None for each that is not found."""
    nodes = definition.node.bases if isinstance(definition.node, ast.ClassDef) else []
    for node in nodes:
        yield named(definition.source, node)


def named(source: ParsedModule, node: ast.expr) -> Definition | None:
    """Return what an expression such as `nn.Module`, `Base[T]` or `"Name"` names in a module."""
    if isinstance(node, ast.Subscript):
        node = node.value
    text = node.value if isinstance(node, ast.Constant) else ast.unparse(node)
    head, *attributes = str(text).split(".")
    if not attributes:
        return _lookup(source, head, _MAX_HOPS)
    for imported, dotted in imports(source):
        if imported == head:
            return find(".".join([dotted, *attributes]))
    return None


def _lookup(source: ParsedModule, name: str, hops: int) -> Definition | None:
    for node in reversed(source.statements):  # the last definition is the one that counts
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return Definition(node, source)
    for imported, dotted in imports(source):
        if imported in (name, "*"):
            found = find(dotted.removesuffix("*") + name if imported == "*" else dotted, hops - 1)
            if found is not None:
                return found
    return None
