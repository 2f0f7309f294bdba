"""Operators in int8: what each runtime computes on 8-bit values, in float32, or refuses.

What is found is kept in `operators.json`, and a second call goes on from there.

python benchmarks/operators.py [--only WORD] [--redo] [--page]
"""

import argparse
import json
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import torch
from operator_columns import COLUMNS, Column
from operator_nets import OPERATORS, SIDE, Around, Tokens, build
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.measure.sqnr import centred_sqnr_db
from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static

FOLDER = Path(__file__).parent
PAGE, FOUND = FOLDER.parent / "docs" / "operators.md", FOLDER / "operators.json"
BATCH, BATCHES = 8, 4
Cells = dict[str, str]
INTRODUCTION = """# Operators in int8

For each operator a network of it between two convolutions, or linear layers where it is of tokens,
with random weights and images. `python benchmarks/operators.py` writes this page.

- SQNR: of the logits of the int8 network against those in float32, less their mean over classes.
- float32: whether the runtime's file of the network in float32 is written, run and found equal.
- int8: what the runtime computes in the file of the int8 network. `int8` means that 8-bit values go
  in and come out; names are those of the runtime's kernels that are given float32 between others in
  int8, which is right and no faster than in float32; a number is that of a reason below the table.
"""


def main() -> None:
    """Write and run each operator's files where that is not yet known, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of an operator's name")
    parser.add_argument("--redo", action="store_true", help="even if known")
    parser.add_argument("--page", action="store_true", help="only write the page")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = read()
    for name in () if args.page else OPERATORS:
        if args.only in name and (args.redo or name not in found):
            found[name] = cells(name)
            print(name, found[name], flush=True)
            FOUND.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))


def read() -> dict[str, Cells]:
    """Return the rows that are known, by operator."""
    return json.loads(FOUND.read_text()) if FOUND.is_file() else {}


def cells(name: str) -> Cells:
    """Return the row of an operator."""
    network = build(name)
    row, int8 = {}, None
    try:
        int8 = convert(quantize_static(network, [(images(seed),) for seed in range(BATCHES)]))
    except PotstillError as error:
        row["SQNR"] = f"refused: {error}"
    else:
        given = images(100)
        row["SQNR"] = f"{centred_sqnr_db(network(given), int8(given)):.0f} dB"
    for column in COLUMNS:
        row[f"{column.name}, float32"] = _cell(column, network, None)
        if int8 is not None:
            plain = Tokens if isinstance(network, Tokens) else Around
            row[f"{column.name}, int8"] = _cell(column, int8, plain)
    return row


def _cell(column: Column, network: nn.Module, plain: type[nn.Module] | None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            floats = column.write(network, images(101), Path(folder))
        except PotstillError as error:
            return f"refused: {error}"
    if plain is None:
        return "yes"
    return ", ".join(sorted(floats - _without(column, plain))) or "int8"


@cache
def _without(column: Column, plain: type[nn.Module]) -> Counter[str]:
    """Return what is computed in float32 around the operator."""
    torch.manual_seed(0)
    network = plain(nn.Identity()).eval()
    int8 = convert(quantize_static(network, [(images(seed),) for seed in range(BATCHES)]))
    with tempfile.TemporaryDirectory() as folder:
        return column.write(int8, images(101), Path(folder))


def images(seed: int) -> Tensor:
    """Return random images (N, 3, H, W) of different colours and contrast."""
    random = torch.Generator().manual_seed(seed)
    colours, contrast = (torch.rand(BATCH, 3, 1, 1, generator=random) for _ in range(2))
    return 2 * colours - 1 + contrast * torch.randn(BATCH, 3, SIDE, SIDE, generator=random)


def page(found: dict[str, Cells]) -> str:
    """Return the page, in Markdown."""
    heads = list(dict.fromkeys(head for row in found.values() for head in row))
    reasons: dict[str, int] = {}
    rows = []
    for name, row in ((name, found[name]) for name in OPERATORS if name in found):
        shown = [_shown(row.get(head, ""), reasons) for head in heads]
        rows.append(f"| {name} | {' | '.join(shown)} |")
    lines = [
        INTRODUCTION,
        f"| operator | {' | '.join(heads)} |",
        "| --- " * (len(heads) + 1) + "|",
        *rows,
        "",
        *(f"{number}. {reason}" for reason, number in reasons.items()),
    ]
    if left := [name for name in OPERATORS if name not in found]:
        lines += ["", f"Not run yet: {', '.join(left)}."]
    return "\n".join(lines).rstrip() + "\n"


def _shown(cell: str, reasons: dict[str, int]) -> str:
    if not cell.startswith("refused: "):
        return cell
    return f"refused ({reasons.setdefault(cell.removeprefix('refused: '), len(reasons) + 1)})"


if __name__ == "__main__":
    main()
