"""List of the distillation heads: `python -m potstill.heads.index`, without loading torch."""

import ast
from pathlib import Path


def catalog() -> list[tuple[str, str]]:
    """Return (option name, the method with its paper) of every head, by name.

    The name is that of the module and of the file in conf/head.
    """
    files = sorted(Path(__file__).parent.glob("*.py"))
    modules = {path.stem: ast.parse(path.read_text("utf-8")) for path in files}
    return [(name, _first_line(tree)) for name, tree in modules.items() if _defines_head(tree)]


def _defines_head(module: ast.Module) -> bool:
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    bases = {base.id for node in classes for base in node.bases if isinstance(base, ast.Name)}
    return "Head" in bases


def _first_line(module: ast.Module) -> str:
    return (ast.get_docstring(module) or "").partition("\n")[0]


def main() -> None:
    """Print the option name and the method of every head, a line each."""
    entries = catalog()
    width = max(len(name) for name, _ in entries)
    for name, line in entries:
        print(f"{name:{width}}  {line}")


if __name__ == "__main__":
    main()
