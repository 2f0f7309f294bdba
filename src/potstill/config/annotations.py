"""Annotations of parameters as types of a config's values, read from source.

What a config cannot hold as it is, an object of a class, is a mapping with `_target_` there.
"""

import ast
from collections.abc import Callable, Iterator
from typing import Any

from potstill.config.introspect import assigned, named
from potstill.config.signatures import is_dataclass
from potstill.config.sources import ParsedModule

Test = Callable[[Any], bool]

_PLAIN: dict[str, tuple[Test, str]] = {
    "None": (lambda value: value is None, "null"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (lambda value: type(value) is int, "an integer"),
    "float": (lambda value: type(value) in (int, float), "a number"),
    "str": (lambda value: isinstance(value, str), "text"),
    "Path": (lambda value: isinstance(value, str), "a path"),
    "PathLike": (lambda value: isinstance(value, str), "a path"),
    "Any": (lambda _: True, "anything"),
    "object": (lambda _: True, "anything"),
}
_LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "set", "Set", "frozenset"}
_MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict"}


def fits(value: Any, expr: ast.expr, source: ParsedModule) -> bool:
    """Return whether a plain value of a config is of an annotated type.

    Args:
        value: resolved: numbers, text, lists and mappings.
        expr: the annotation.
        source: the module it is written in, where its names are looked up.
    """
    options = list(_alternatives(expr, source))
    # The plain ones first: the others may need a library's source.
    return any(_fits_one(value, one, where) for one, where in sorted(options, key=_is_name))


def in_words(expr: ast.expr, source: ParsedModule) -> tuple[str, str]:
    """Return what an annotation takes, for a message: `null or an integer`, and `a Schedule`.

    The second are the objects among them, of which a config holds the `_target_`.
    """
    options = list(_alternatives(expr, source))
    words = [_words_of(one, where) for one, where in options if not _is_object(one, where)]
    if "a number" in words and "an integer" in words:
        words.remove("an integer")
    plain = sorted(dict.fromkeys(words), key=lambda word: word != "null")
    objects = [f"a {_last(one)}" for one, where in options if _is_object(one, where)]
    return " or ".join(plain), " or ".join(objects)


def _alternatives(expr: ast.expr, source: ParsedModule) -> Iterator[tuple[ast.expr, ParsedModule]]:
    """Yield the members of a union, through the names of types and quoted annotations."""
    match expr:
        case ast.Constant(value=str(text)):
            yield from _alternatives(ast.parse(text, mode="eval").body, source)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            yield from _alternatives(left, source)
            yield from _alternatives(right, source)
        case ast.Subscript(slice=inner) if _last(expr) in ("Optional", "Union", "Annotated"):
            members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            for member in members[:1] if _last(expr) == "Annotated" else members:
                yield from _alternatives(member, source)
            if _last(expr) == "Optional":
                yield ast.Constant(value=None), source
        case ast.Name(id=name) if name not in _PLAIN and (found := assigned(source, name)):
            # A name for a callable says more than `Callable`.
            yield from [(expr, source)] if _last(found[0]) == "Callable" else _alternatives(*found)
        case _:
            yield expr, source


def _fits_one(value: Any, expr: ast.expr, source: ParsedModule) -> bool:
    name = _last(expr)
    if name in _PLAIN or isinstance(expr, ast.Call):  # a type variable is a call
        return name not in _PLAIN or _PLAIN[name][0](value)
    if isinstance(expr, ast.Subscript):
        members = expr.slice.elts if isinstance(expr.slice, ast.Tuple) else [expr.slice]
        if name == "Literal":
            return any(_is_literal(value, member) for member in members)
        if name in _LISTS:
            return isinstance(value, list) and all(fits(v, members[0], source) for v in value)
        if name in ("tuple", "Tuple"):
            return isinstance(value, list) and _fits_tuple(value, members, source)
        if name in _MAPPINGS and len(members) == 2:
            # What is taken out of a config's mapping is null there; nodes are checked as such.
            return _is_mapping(value) and all(
                inner is None or isinstance(inner, dict) or fits(inner, members[1], source)
                for inner in value.values()
            )
    if name in _LISTS or name in ("tuple", "Tuple"):
        return isinstance(value, list)
    if name in _MAPPINGS:
        return _is_mapping(value)
    return isinstance(value, dict) and ("_target_" in value or _is_record(expr, source))


def _fits_tuple(value: list[Any], members: list[ast.expr], source: ParsedModule) -> bool:
    if len(members) == 2 and isinstance(members[1], ast.Constant) and members[1].value is ...:
        return all(fits(item, members[0], source) for item in value)
    pairs = zip(value, members, strict=False)
    return len(value) == len(members) and all(fits(v, one, source) for v, one in pairs)


def _words_of(expr: ast.expr, source: ParsedModule) -> str:
    name = _last(expr)
    if name in _PLAIN:
        return _PLAIN[name][1]
    members: list[ast.expr] = []
    if isinstance(expr, ast.Subscript):
        members = expr.slice.elts if isinstance(expr.slice, ast.Tuple) else [expr.slice]
    if name == "Literal":
        return " or ".join(ast.unparse(member).strip("'") for member in members)
    if name in ("tuple", "Tuple") and members and ast.unparse(members[-1]) != "...":
        return f"a list of {len(members)}, each {_of(members[0], source)}"
    if name in _LISTS or name in ("tuple", "Tuple"):
        return f"a list of {_of(members[0], source)}" if members else "a list"
    return "a mapping"


def _of(member: ast.expr, source: ParsedModule) -> str:
    return " or ".join(filter(None, in_words(member, source)))


def _is_object(expr: ast.expr, source: ParsedModule) -> bool:
    """Return whether an annotation names a class, or a callable, and no type of plain values."""
    name = _last(expr)
    known = {*_PLAIN, *_LISTS, *_MAPPINGS, "tuple", "Tuple", "Literal"}
    return name not in known and not isinstance(expr, ast.Call) and not _is_record(expr, source)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" not in value


def _is_record(expr: ast.expr, source: ParsedModule) -> bool:
    """Return whether it is a dataclass, of which a config holds the fields."""
    found = named(source, expr)
    return found is not None and not found.is_function and is_dataclass(found)


def _is_literal(value: Any, member: ast.expr) -> bool:
    return isinstance(member, ast.Constant) and (type(value), value) == (
        type(member.value),
        member.value,
    )


def _last(expr: ast.expr) -> str:
    """Return the last part of a type's name: `Optional` of `typing.Optional[int]`."""
    if isinstance(expr, ast.Subscript):
        expr = expr.value
    return ast.unparse(expr).rpartition(".")[2]


def _is_name(option: tuple[ast.expr, ParsedModule]) -> bool:
    return _last(option[0]) not in {*_PLAIN, *_LISTS, *_MAPPINGS}
