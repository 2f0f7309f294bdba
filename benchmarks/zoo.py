"""One small classifier of every module of torchvision and timm: pruned, quantized, exported.

Each part of each network is compared with an oracle and kept as a line of `zoo.jsonl`; a second
call goes on from there, and several may share the work. A network runs in a process of its own,
with a limit on its time and memory.

python benchmarks/zoo.py [--part 1/2] [--only WORD] [--redo PART] [--retry] [--page]
"""

import argparse
import importlib
import json
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from zoo_deploy import Deployed
from zoo_limits import LIMIT, in_child
from zoo_members import SIDES, Member, members
from zoo_page import page
from zoo_prune import prune

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "zoo.md"
DEPLOYED = ("int8", "onnx", "onnx_int8", "executorch", "executorch_int8")
PARTS = ("prune", *DEPLOYED)
# Imported once for all networks' processes.
SLOW_IMPORTS = (
    "onnxruntime",
    "onnxscript",
    "executorch.backends.xnnpack.partition.xnnpack_partitioner",
)
Row = dict[str, Any]
Key = tuple[str, str, str]  # library, module, part


def main() -> None:
    """Do what is left to do, and write the page."""
    args = _arguments()
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = read(args.lines)
    share, shares = (int(number) for number in args.part.split("/"))
    end = time.monotonic() + 60 * args.minutes
    for number, member in enumerate(() if args.page else members()):
        if (
            args.only not in f"{member.library}/{member.module}"
            or number % shares != share % shares
        ):
            continue
        if time.monotonic() > end:
            break
        left = [part for part in PARTS if part in args.redo or _is_left(member, part, done, args)]
        for row in in_child(left, partial(Judge, member, done)) if left else ():
            done[_key(member, row["part"])] = row = {**vars(member), **row}
            print(json.dumps(row), flush=True)
            with args.lines.open("a") as file:
                file.write(json.dumps(row) + "\n")
    if args.page or shares == 1:
        PAGE.write_text(page(list(read(args.lines).values()), PARTS, LIMIT))


def _is_left(member: Member, part: str, done: dict[Key, Row], args: argparse.Namespace) -> bool:
    row = done.get(_key(member, part))
    return row is None or (args.retry and row["verdict"] != "right")


def read(path: Path) -> dict[Key, Row]:
    """Return the last line of each part of each network."""
    rows = map(json.loads, path.read_text().splitlines()) if path.is_file() else ()
    return {(row["library"], row["module"], row["part"]): row for row in rows}


class Judge:
    """What becomes of the parts of one network: a callable from a part to its row."""

    def __init__(self, member: Member, done: dict[Key, Row]) -> None:
        known = done.get(_key(member, "prune"), {}).get("side")
        self.side, self.reason = (known, "") if known else _side(member)
        self.member = member
        self.deployed = Deployed(partial(member.build, self.side), self.side)

    def __call__(self, part: str) -> Row:
        """Return the row of a part."""
        row: Row = {"part": part, "side": self.side}
        if self.reason:
            return row | {"verdict": "not run", "reason": self.reason}
        begin = time.process_time()
        if part == "prune":
            row |= prune(self.member, self.side)
        else:
            row |= getattr(self.deployed, part)()
        return row | {"seconds": round(time.process_time() - begin, 1)}


def _side(member: Member) -> tuple[int, str]:
    """Return the smallest images that the network takes, in training as well, or why none."""
    reason = ""
    for side in sorted({*SIDES, member.native}):
        try:
            with torch.no_grad():
                net = member.build(side)
                net(torch.zeros(2, 3, side, side))
                net.train()(torch.zeros(2, 3, side, side))
        except Exception as error:  # whatever a network of somebody else's raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        else:
            return side, ""
    return 0, reason


def _key(member: Member, part: str) -> Key:
    return member.library, member.module, part


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--lines", type=Path, default=FOLDER / "zoo.jsonl", help="kept between calls"
    )
    parser.add_argument(
        "--part", default="1/1", metavar="K/N", help="every Nth network, from the Kth"
    )
    parser.add_argument("--only", default="", help="part of LIBRARY/MODULE")
    parser.add_argument("--redo", nargs="*", default=(), choices=PARTS, help="even if known")
    parser.add_argument("--retry", action="store_true", help="redo what is not right")
    parser.add_argument("--minutes", type=float, default=600, help="begin no network after these")
    parser.add_argument("--page", action="store_true", help="only write the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
