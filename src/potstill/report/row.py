"""Measurements of one network of a run: one row of the report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A network after a stage; None is what was not measured.

    Attributes:
        name: which network, such as "student".
        stage: what was last done to it, such as "distil".
        accuracy: on the test set, 0 to 1.
        val_accuracy: on the validation split, 0 to 1: what a choice between runs goes by.
        num_parameters: parameters of the deployed network.
        macs: multiply-accumulates for one image.
        size_bytes: its weights as a file.
        latency_ms: one image on the CPU, the median in milliseconds.
        latency_p95_ms: the 95th percentile of the same.
        latency_engine: what ran it: "eager", "onnxruntime" or "executorch". Only latencies of
            one engine compare.
        ece: expected calibration error, 0 to 1.
        agreement: fraction of test images on which it names the teacher's class, 0 to 1.
        divergence: KL(teacher || network) on the test set, in nats.
        epochs: epochs trained in this stage.
        seconds: wall time of this stage.
    """

    name: str
    stage: str
    accuracy: float | None = None
    num_parameters: int | None = None
    macs: int | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    ece: float | None = None
    agreement: float | None = None
    divergence: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    val_accuracy: float | None = None
    latency_engine: str | None = None
