"""Measurements of one network of a run: one row of the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Row:
    """A network after a stage; None is what was not measured.

    Attributes:
        name: which network, such as "student".
        stage: what was last done to it, such as "distil".
        scores: the task's scores on the test set by name, and `val_NAME`, the main one on the
            validation split: what a choice between runs goes by.
        num_parameters: parameters of the deployed network.
        macs: multiply-accumulates for one image.
        size_bytes: its weights as a file.
        latency_ms: one image on the CPU, the median in milliseconds.
        latency_p95_ms: the 95th percentile of the same.
        epochs: epochs trained in this stage.
        seconds: wall time of this stage.
        latency_engine: what ran it: "eager", "onnxruntime" or "executorch". Only latencies of
            one engine compare.
    """

    name: str
    stage: str
    scores: Mapping[str, float | None] = field(default_factory=dict)
    num_parameters: int | None = None
    macs: int | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    latency_engine: str | None = None

    def score(self, name: str) -> float | None:
        """Return a score, None where it was not measured."""
        return self.scores.get(name)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the scores beside the rest."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        scores = plain.pop("scores")
        return {"name": plain.pop("name"), "stage": plain.pop("stage"), **scores, **plain}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], scores: set[str]) -> "Row":
        """Return the row that `to_json` made plain; what is neither field nor score is left out."""
        known = {item.name for item in fields(cls)} - {"scores"}
        own = {key: value for key, value in values.items() if key in known}
        return cls(**own, scores={k: v for k, v in values.items() if k in scores})
