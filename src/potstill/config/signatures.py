"""Parameters of classes and functions with their annotations, read from source."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from potstill.config.introspect import Definition, bases
from potstill.config.sources import ParsedModule


@dataclass(frozen=True)
class Parameter:
    """One argument of a call.

    Attributes:
        name: its keyword.
        annotation: as it stands in the source, None where there is none.
        default: the same.
        source: the module that both were written in.
    """

    name: str
    annotation: ast.expr | None
    default: ast.expr | None
    source: ParsedModule


@dataclass(frozen=True)
class Signature:
    """The parameters of a call by name; `is_open` where `**kwargs` takes any other."""

    parameters: Mapping[str, Parameter]
    is_open: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names it takes, in order."""
        return tuple(self.parameters)


def signature(definition: Definition) -> Signature | None:
    """Return what calling `definition` takes; `None` where its source does not show it.

    What `__init__` hands on to its base as `super().__init__(**settings)` are the base's
    parameters, and those of a dataclass are its fields.
    """
    node, source = definition.node, definition.source
    if isinstance(node, ast.FunctionDef):
        return _arguments(node.args, source, skip=0)
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _with_base(definition, statement)
    if node.decorator_list:
        return _fields(definition) if is_dataclass(definition) else None
    if not node.bases:
        return Signature({})
    parent = next(bases(definition))
    return signature(parent) if parent is not None else None


def _arguments(arguments: ast.arguments, source: ParsedModule, skip: int) -> Signature:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, [*missing, *arguments.defaults], strict=True)][skip:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found = {one.arg: Parameter(one.arg, one.annotation, value, source) for one, value in pairs}
    return Signature(found, arguments.kwarg is not None)


def _with_base(definition: Definition, init: ast.FunctionDef) -> Signature:
    """Return the parameters of `__init__`, with its base's where the rest is handed on."""
    own = _arguments(init.args, definition.source, skip=1)
    handed_on = _handed_on(init)
    parent = next(bases(definition), None) if handed_on is not None else None
    theirs = signature(parent) if parent is not None else None
    if theirs is None or handed_on is None:
        return own
    rest = {
        name: one
        for name, one in theirs.parameters.items()
        if name not in own.parameters and name not in handed_on
    }
    return replace(theirs, parameters={**own.parameters, **rest})


def _handed_on(init: ast.FunctionDef) -> set[str] | None:
    """Return what is given besides the rest to `super().__init__(a=..., **rest)`, by keyword.

    None where the rest goes elsewhere: it is looked into, or there is none.
    """
    rest = init.args.kwarg.arg if init.args.kwarg is not None else None
    used = (ast.Attribute, ast.Subscript)
    for node in ast.walk(init) if rest is not None else ():
        if isinstance(node, used) and isinstance(node.value, ast.Name) and node.value.id == rest:
            return None
    for node in ast.walk(init) if rest is not None else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            spread = [keyword.value for keyword in node.keywords if keyword.arg is None]
            if rest in {name.id for name in _names(spread)}:
                return {keyword.arg for keyword in node.keywords if keyword.arg is not None}
    return None


def _names(nodes: list[ast.expr]) -> Iterator[ast.Name]:
    for node in nodes:
        yield from (inner for inner in ast.walk(node) if isinstance(inner, ast.Name))


def is_dataclass(definition: Definition) -> bool:
    """Return whether a class is decorated as one."""
    decorators = definition.node.decorator_list
    called = [one.func if isinstance(one, ast.Call) else one for one in decorators]
    return any(ast.unparse(one).rpartition(".")[2] == "dataclass" for one in called)


def _fields(definition: Definition) -> Signature:
    parent = next(bases(definition), None)
    is_one = parent is not None and is_dataclass(parent)
    found = dict(_fields(parent).parameters) if parent is not None and is_one else {}
    for statement in definition.node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name, annotation = statement.target.id, ast.unparse(statement.annotation)
            left_out = statement.value is not None and "init=False" in ast.unparse(statement.value)
            if not left_out and not annotation.startswith(("ClassVar", "typing.ClassVar")):
                values = (statement.annotation, statement.value, definition.source)
                found[name] = Parameter(name, *values)
    return Signature(found)
