"""Writer of a run's report: JSON for machines, a page and plots for people."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from potstill.atomic import write_atomically
from potstill.measure import metrics
from potstill.measure.host import machine
from potstill.report.curves import Curve, read_curve
from potstill.report.learning import curves_figure
from potstill.report.page import write_page
from potstill.report.plots import confusion_figure, reliability_figure
from potstill.report.row import Row
from potstill.report.style import as_png
from potstill.report.table import markdown_table

__all__ = ["Answers", "Row", "write_report"]

# A list of numbers alone over several lines: no JSON string holds a line break.
NUMBERS = re.compile(r"\[\n[^\[\]{}\"]*\]")


@dataclass(frozen=True)
class Answers:
    """What the networks of a run said of the test set.

    Attributes:
        logits: network -> (M, K).
        targets: (M,).
        class_names: K names.
        subject: the network to look at closely.
        examples: as `examples.describe` returns them.
    """

    logits: Mapping[str, Tensor]
    targets: Tensor
    class_names: Sequence[str]
    subject: str
    examples: Sequence[Mapping[str, Any]] = field(default_factory=list)


def write_report(
    directory: Path | str,
    rows: Sequence[Row],
    curves: Mapping[str, Path | str | Sequence[Path | str]],
    answers: Answers,
    meta: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write report.json, report.md, the plots and report.html; return the page's path.

    Args:
        directory: made where it is missing.
        rows: the table, in the order to show.
        curves: the metrics.csv of each network by its name, one path or one for each attempt.
        answers: the answers that the diagrams are made of.
        meta: what else to keep (seed, data, command); values that JSON lacks become strings.
        config: the whole config, resolved.

    Raises:
        StorageError: where `directory` cannot be written.
    """
    directory = Path(directory)
    read = {name: read_curve(paths) for name, paths in curves.items()}
    record = {
        "rows": [asdict(row) for row in rows],
        "machine": machine(),
        "meta": dict(meta),
        **_looked_at(answers),
        "curves": {name: _listed(curve) for name, curve in read.items()},
        "config": dict(config or {}),
    }
    images = _draw(directory, read, answers)
    text = json.dumps(_finite(record), indent=2, allow_nan=False, default=str)
    text = NUMBERS.sub(lambda match: " ".join(match[0].split()), text)
    write_atomically(directory / "report.json", text + "\n")
    write_atomically(directory / "report.md", _markdown(rows, meta, images))
    return write_page(directory)


def _looked_at(answers: Answers) -> dict[str, Any]:
    logits, targets, names = answers.logits, answers.targets, answers.class_names
    counts = metrics.confusion_matrix(logits[answers.subject], targets)
    if len(counts) != len(names):
        raise ValueError(f"class_names: {len(names)} names for {len(counts)} classes")
    return {
        "class_names": list(names),
        "subject": answers.subject,
        "confusion": counts.tolist(),
        "class_accuracy": {
            name: metrics.class_accuracy(found, targets).tolist() for name, found in logits.items()
        },
        "reliability": {
            name: {key: value.tolist() for key, value in vars(bins).items()}
            for name, bins in ((n, metrics.reliability(x, targets)) for n, x in logits.items())
        },
        "examples": [dict(example) for example in answers.examples],
    }


def _listed(curve: Curve) -> dict[str, list[list[float]]]:
    """Return each metric as its epochs and its values: JSON has no numbers for keys."""
    return {
        metric: [list(values), [float(f"{value:.6g}") for value in values.values()]]
        for metric, values in curve.items()
    }


def _draw(directory: Path, curves: Mapping[str, Curve], answers: Answers) -> list[str]:
    logits = answers.logits[answers.subject]
    confusion = metrics.confusion_matrix(logits, answers.targets)
    figures = {
        **({"curves": curves_figure(curves)} if curves else {}),
        "confusion": confusion_figure(confusion, answers.class_names),
        "reliability": reliability_figure(metrics.reliability(logits, answers.targets)),
    }
    for name, figure in figures.items():
        write_atomically(directory / f"{name}.png", as_png(figure))
    return list(figures)


def _finite(value: Any) -> Any:
    """Return `value` with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _markdown(rows: Sequence[Row], meta: Mapping[str, Any], images: Sequence[str]) -> str:
    host = machine()
    parts = [
        "# Report",
        markdown_table(rows),
        f"Accuracy on the test set. MACs and latency for one image; latency is the median on "
        f"{host['cpu'] or 'an unnamed CPU'}, one thread, torch {host['torch']}. "
        "Size is the weights' safetensors file.",
        *(f"![{name}]({name}.png)" for name in images),
    ]
    if meta:
        parts.append("\n".join(f"- {key}: {value}" for key, value in meta.items()))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"
