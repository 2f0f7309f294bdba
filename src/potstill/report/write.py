"""Writer of a run's report: JSON for machines, a page and plots for people."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from potstill.atomic import write_atomically
from potstill.integrity.sealed import VERSION, seal_text
from potstill.measure.host import machine
from potstill.report.curves import Curve, read_curve
from potstill.report.learning import curves_figure
from potstill.report.page import write_page
from potstill.report.plots import confusion_figure, reliability_figure
from potstill.report.row import Row
from potstill.report.style import as_png
from potstill.report.table import markdown_table
from potstill.report.text import in_markdown
from potstill.report.thumbnail import data_uri
from potstill.tasks.parts import Parts
from potstill.tasks.scoring import Scoring

# A list of numbers alone over several lines: no JSON string holds a line break.
NUMBERS = re.compile(r"\[\n[^\[\]{}\"]*\]")


@dataclass(frozen=True)
class Results:
    """What came out of a run's test.

    Attributes:
        rows: the table, in the order to show.
        scoring: what the scores in it are.
        subject: the network to look at closely.
        parts: what else the page shows, as the task found it.
    """

    rows: Sequence[Row]
    scoring: Scoring
    subject: str
    parts: Parts


def write_report(
    directory: Path | str,
    results: Results,
    curves: Mapping[str, Path | str | Sequence[Path | str]],
    meta: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write report.json, report.md, the plots and report.html; return the page's path.

    Args:
        directory: made where it is missing.
        results: of the test.
        curves: the metrics.csv of each network by its name, one path or one for each attempt.
        meta: what else to keep (seed, data, command); values that JSON lacks become strings.
        config: the whole config, resolved.

    Raises:
        StorageError: where `directory` cannot be written.
    """
    directory = Path(directory)
    read = {name: read_curve(paths) for name, paths in curves.items()}
    record = {
        VERSION: 1,
        "rows": [row.to_json() for row in results.rows],
        "machine": machine(),
        "meta": dict(meta),
        "scoring": asdict(results.scoring),
        "subject": results.subject,
        **_plain(results.parts),
        "curves": {name: _listed(curve) for name, curve in read.items()},
        "config": dict(config or {}),
    }
    images = _draw(directory, read, results)
    text = json.dumps(_finite(record), indent=2, allow_nan=False, default=str)
    text = NUMBERS.sub(lambda match: " ".join(match[0].split()), text)
    write_atomically(directory / "report.json", seal_text(text) + "\n")
    write_atomically(directory / "report.md", _markdown(results, meta, images))
    return write_page(directory)


def _plain(parts: Parts) -> dict[str, Any]:
    """Return the parts by name, images as addresses."""
    examples = [{**found, "image": data_uri(found["image"])} for found in parts.examples]
    confusion = parts.confusion and asdict(parts.confusion)
    charts = [asdict(chart) for chart in parts.charts]
    return {**vars(parts), "confusion": confusion, "examples": examples, "charts": charts}


def _listed(curve: Curve) -> dict[str, list[list[float]]]:
    """Return each metric as its epochs and its values: JSON has no numbers for keys."""
    return {
        metric: [list(values), [float(f"{value:.6g}") for value in values.values()]]
        for metric, values in curve.items()
    }


def _draw(directory: Path, curves: Mapping[str, Curve], results: Results) -> list[str]:
    parts, figures = results.parts, {}
    if curves:
        figures["curves"] = curves_figure(curves, results.scoring)
    if parts.confusion:
        figures["confusion"] = confusion_figure(parts.confusion, parts.class_names)
    if results.subject in parts.reliability:
        figures["reliability"] = reliability_figure(parts.reliability[results.subject])
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


def _markdown(results: Results, meta: Mapping[str, Any], images: Sequence[str]) -> str:
    host = machine()
    parts = [
        "# Report",
        markdown_table(results.rows, results.scoring),
        f"{results.scoring.main.title} on the test set. MACs and latency for one image; latency is "
        f"the median on {host['cpu'] or 'an unnamed CPU'}, one thread, torch {host['torch']}. "
        "Size is the weights' safetensors file.",
        *(f"![{name}]({name}.png)" for name in images),
    ]
    if meta:
        parts.append("\n".join(f"- {key}: {in_markdown(value)}" for key, value in meta.items()))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"
