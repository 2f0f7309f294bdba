"""Ranges that classes and functions declare of their parameters, read from source.

A class has an attribute `ranges`, which adds to that of its bases; the functions of a module share
its `RANGES`. Those of libraries are listed in `library_ranges`.
"""

import ast
from functools import cache
from typing import Any

from potstill.config.introspect import Definition, assigned, bases
from potstill.config.library_ranges import LIBRARY_RANGES
from potstill.config.ranges import Ranges, Rule
from potstill.config.sources import ParsedModule
from potstill.errors import ConfigError


@cache
def ranges_of(definition: Definition) -> Ranges:
    """Return the ranges of what a call takes, by parameter.

    Raises:
        ConfigError: if they are no literals, so that they cannot be read without importing.
    """
    if isinstance(definition.node, ast.FunctionDef):
        listed = assigned(definition.source, "RANGES")
        return _value(*listed) if listed is not None else {}
    found: dict[str, Rule] = {}
    for parent in reversed([base for base in bases(definition) if base is not None]):
        found |= ranges_of(parent)
    return {**found, **LIBRARY_RANGES.get(definition.name, {}), **_own(definition)}


def _own(definition: Definition) -> Ranges:
    for statement in definition.node.body:
        match statement:
            case (
                ast.AnnAssign(target=ast.Name(id="ranges"), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(id="ranges")], value=value)
            ):
                return _value(value, definition.source)
    return {}


def _value(expr: ast.expr, source: ParsedModule) -> Any:
    """Return a literal's value, its names looked up where they are assigned."""
    match expr:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, source)
        case ast.Tuple(elts=items):
            return tuple(_value(item, source) for item in items)
        case ast.List(elts=items):
            return [_value(item, source) for item in items]
        case ast.Dict(keys=keys, values=values):
            found: dict[Any, Any] = {}
            for key, item in zip(keys, values, strict=True):
                inner = _value(item, source)
                found |= inner if key is None else {_value(key, source): inner}
            return found
        case ast.Name(id=name) if named := assigned(source, name):
            return _value(*named)
    raise ConfigError(
        f"{source.name}: `{ast.unparse(expr)}` in its ranges is no literal. Fix: write it out"
    )
