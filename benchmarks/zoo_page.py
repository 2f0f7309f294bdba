"""The page of the zoo: counts, a row for each network, and what was refused by its reason."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
HEADINGS = {
    "prune": "pruned",
    "int8": "int8",
    "onnx": "ONNX",
    "onnx_int8": "ONNX int8",
    "executorch": "ExecuTorch",
    "executorch_int8": "ExecuTorch int8",
}
INTRODUCTION = """# Networks of torchvision and timm, pruned, quantized and exported

One small classifier of each module, with random weights and statistics. `python benchmarks/zoo.py`
writes this page from the lines in `benchmarks/zoo.jsonl`.

- pruned: half of the channels go (`ratio=0.5`, `l2_magnitude`). Right: the logits are those of the
  dense network whose readers and norms look at the channels left, to 1e-6 of the largest.
- int8: ranges from random images, then converted. Right: the logits are those of the fake-quantized
  network, as closely as 30 dB or as the network keeps them when it is rounded a little differently.
- files: right where the runtime, on images that the export has not seen, gives the logits of the
  network, 60 dB in float32 and as above in int8.

Decibels are the signal-to-noise ratio of logits less their mean over the classes. A number in
brackets is that of the reason below the table. A part may take {limit} s of one core and 8 GB."""


def page(rows: list[Row], parts: Sequence[str], limit: int) -> str:
    """Return the page, in Markdown."""
    reasons = _reasons(rows)
    networks: dict[tuple[str, str], dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: (row["library"], row["module"])):
        networks.setdefault((row["library"], row["module"]), {})[row["part"]] = row
    headings = [HEADINGS[part] for part in parts]
    head = ["library", "module", "network", "pixels", "MACs left", *headings, "seconds"]
    lines = [
        INTRODUCTION.format(limit=limit),
        "",
        *_counts(rows, parts),
        "",
        f"| {' | '.join(head)} |",
        "| --- " * len(head) + "|",
        *(_network(found, parts, reasons) for found in networks.values()),
        "",
        "Refused, by reason:",
        "",
        *(f"{number}. {reason}" for reason, number in reasons.items()),
    ]
    return "\n".join(lines) + "\n"


def kind(row: Row) -> str:
    """Return the reason of a row without what is this network's alone."""
    text = re.sub(r"^[\w=.]+: ", "", row["reason"])
    text = re.sub(r"-?\d+(\.\d+)?", "N", text)
    return f"{HEADINGS[row['part']]}: {text}"


def _reasons(rows: list[Row]) -> dict[str, int]:
    counts = Counter(kind(row) for row in rows if row["verdict"] != "right")
    return {reason: number for number, (reason, _) in enumerate(counts.most_common(), 1)}


def _counts(rows: list[Row], parts: Sequence[str]) -> list[str]:
    lines = ["| | " + " | ".join(HEADINGS[part] for part in parts) + " |"]
    lines.append("| --- " * (len(parts) + 1) + "|")
    for library in sorted({row["library"] for row in rows}):
        cells = []
        for part in parts:
            here = [r for r in rows if r["library"] == library and r["part"] == part]
            found = Counter(row["verdict"] for row in here)
            others = [
                f"{count} {verdict}" for verdict, count in found.items() if verdict != "right"
            ]
            cells.append(", ".join([f"{found['right']} of {len(here)} right", *others]))
        lines.append(f"| {library} | {' | '.join(cells)} |")
    return lines


def _network(found: dict[str, Row], parts: Sequence[str], reasons: dict[str, int]) -> str:
    first = next(iter(found.values()))
    macs = found.get("prune", {}).get("macs")
    cells = [
        first["library"], first["module"], first["name"], first.get("side") or "",
        "" if macs is None else f"{macs:.1%}",
        *(_cell(found.get(part), reasons) for part in parts),
        f"{sum(row.get('seconds', 0) for row in found.values()):.0f}",
    ]  # fmt: skip
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _cell(row: Row | None, reasons: dict[str, int]) -> str:
    if row is None:
        return ""
    if row["verdict"] != "right":
        return f"{row['verdict']} ({reasons[kind(row)]})"
    if "db" in row:
        return f"right, {row['db']:.0f} dB"
    return "right, some layers whole" if row.get("whole") else "right"
