"""Pruning of one small classifier of every module of torchvision and timm, compared.

Half of the channels go by L2 magnitude; the logits are compared in float64 with an oracle that
runs the dense network. What was done is kept line by line, and a second call goes on from there.

python benchmarks/zoo.py [--lines FILE] [--minutes 30] [--only WORD]
"""

import argparse
import json
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from zoo_members import SIDES, Member, members
from zoo_oracle import dense_without

from potstill.errors import PotstillError
from potstill.pruning.channels.criteria.l2_magnitude import L2Magnitude
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.target import Target

PAGE = Path(__file__).parents[1] / "docs" / "zoo.md"
TOLERANCE = 1e-6  # of the largest logit, in float64
Row = dict[str, Any]


def main() -> None:
    """Prune what is left to prune, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=Path, default=Path("zoo.jsonl"), help="kept between calls")
    parser.add_argument("--minutes", type=float, default=30, help="of one core, at most")
    parser.add_argument("--only", default="", help="part of a module's name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in args.lines.open()] if args.lines.is_file() else []
    done, end = {(row["library"], row["module"]) for row in rows}, 60 * args.minutes
    for member in members():
        if (member.library, member.module) in done or args.only not in member.module:
            continue
        if time.process_time() > end:
            break
        rows.append(row := judge(member))
        print(json.dumps(row))
        with args.lines.open("a") as file:
            file.write(json.dumps(row) + "\n")
    PAGE.write_text(page(sorted(rows, key=lambda row: (row["library"], row["module"]))))


def judge(member: Member) -> Row:
    """Return what became of a network."""
    row: Row = {**vars(member), "side": 0, "seconds": 0.0}
    try:
        row["side"] = side = _side(member)
    except Exception as error:  # whatever a network of somebody else's raises
        return row | {"verdict": "not run", "reason": _line(error)}
    dense, pruned = member.build(side), member.build(side)
    begin = time.process_time()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            done = prune_channels(pruned, (3, side, side), L2Magnitude(), Target(ratio=0.5))
        except PotstillError as error:
            return row | {"verdict": "refused", "reason": str(error)}
        except Exception as error:
            return row | {"verdict": "WRONG", "reason": _line(error)}
    row["seconds"] = round(time.process_time() - begin, 1)
    row["macs"] = done.reached["macs"] / done.dense["macs"]
    row["whole"] = sum("keep all channels" in str(one.message) for one in said)
    image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(7))
    try:
        row["error"] = _error(dense, pruned, done.plan, image)
    except Exception as error:
        return row | {"verdict": "not compared", "reason": _line(error)}
    return row | {"verdict": "right" if row["error"] <= TOLERANCE else "WRONG", "reason": ""}


@torch.no_grad()
def _error(
    dense: torch.nn.Module, pruned: torch.nn.Module, plan: Any, image: torch.Tensor
) -> float:
    """Return the largest difference of the logits, as a share of the largest logit."""
    try:
        found, wanted = _both(dense.double(), pruned.double(), plan, image.double())
    except RuntimeError:  # computes in float32 whatever it is given
        found, wanted = _both(dense.float(), pruned.float(), plan, image)
    scale = wanted.abs().max()
    limit = 1 if found.dtype == torch.float64 else 1e3  # float32 rounds sooner
    return ((found - wanted).abs().max() / scale / limit).item()


def _both(dense: Any, pruned: Any, plan: Any, image: Tensor) -> tuple[Any, Any]:
    return pruned(image), dense_without(dense, plan)(image)


def _side(member: Member) -> int:
    """Return the smallest images that the network takes, in training as well."""
    sides = sorted({*SIDES, member.native})
    for side in sides:
        try:
            with torch.no_grad():
                net = member.build(side)
                net(torch.zeros(2, 3, side, side))
                net.train()(torch.zeros(2, 3, side, side))
        except Exception:
            if side == sides[-1]:
                raise
        else:
            return side
    raise AssertionError


def page(rows: list[Row]) -> str:
    """Return the page: counts by library, then a row for each network."""
    counts = Counter((row["library"], row["verdict"]) for row in rows)
    lines = [
        "# Networks that were pruned",
        "",
        "One small classifier of each module of torchvision and timm, with random weights and",
        "statistics. Half of the channels go (`ratio=0.5`, `l2_magnitude`); right means that the",
        "logits are those of the dense network whose readers and norms look at the channels left,",
        f"to {TOLERANCE:g} of the largest. `python benchmarks/zoo.py` writes this page.",
        "",
        *(
            f"- {library}: {count} {verdict}"
            for (library, verdict), count in sorted(counts.items())
        ),
        "",
        "| library | module | network | pixels | verdict | MACs left | seconds | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(_table_row(row) for row in rows)]) + "\n"


def _table_row(row: Row) -> str:
    left = f"{row['macs']:.1%}" if "macs" in row else ""
    note = row["reason"].replace("|", "/") or ("some layers whole" if row.get("whole") else "")
    cells = (row["library"], row["module"], row["name"], row["side"] or "", row["verdict"], left,
             row["seconds"], note)  # fmt: skip
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


if __name__ == "__main__":
    main()
