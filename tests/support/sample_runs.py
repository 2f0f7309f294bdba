"""Finished runs with made-up but plausible numbers, for the tests of the pages."""

import torch

from potstill.integrity.sealed import write_sealed
from potstill.report.row import Row
from potstill.report.write import Results, write_report
from potstill.tasks.classification import Classification
from potstill.tasks.parts import NetworkOutputs
from potstill.tasks.scoring import CLASSIFICATION

CLASSES = tuple("0123456789")


def scores(accuracy, ece=None, **others):
    return {"accuracy": accuracy, "ece": ece, **others}


ROWS = (
    Row("teacher", "teacher", scores(0.9972, 0.0068), 2_122_186, 7_705_600, 8_489_344, 0.61, 0.71),
    Row("baseline", "baseline", scores(0.9806, 0.0113), 271_000, 2_148_864, 1_094_000, 0.30, 0.36),
    Row("student", "distil", scores(0.9889, 0.0094), 271_000, 2_148_864, 1_094_000, 0.29, 0.35),
    Row("pruned", "prune + distil", scores(0.9861, 0.012), 66_000, 540_000, 268_000, 0.21, 0.25),
    Row("int8-ptq", "quantize", scores(0.9750, 0.021), 66_000, 540_000, 88_000),
    Row("int8-qat", "qat + distil", scores(0.9860, 0.016), 66_000, 540_000, 88_500),
)
TERMS = ("train/loss", "train/task", "train/task_weighted", "train/kd", "train/kd_weighted")


def row(base, **changes):
    """The same row with other values; those that are no field are scores."""
    scored = {name: value for name, value in changes.items() if not hasattr(base, name)}
    own = {name: value for name, value in changes.items() if name not in scored}
    return Row(**{**vars(base), "scores": {**base.scores, **scored}, **own})


def logits_of(accuracy, targets, classes, seed):
    """Logits whose accuracy is close to the one given, surer where they are right."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(targets), classes, generator=generator)
    wrong = torch.rand(len(targets), generator=generator) > accuracy
    shift = torch.randint(1, classes, (len(targets),), generator=generator)
    said = torch.where(wrong, (targets + shift) % classes, targets)
    logits[torch.arange(len(targets)), said] += torch.where(wrong, 3.5, 6.0)
    return logits


def write_metrics(path, epochs=12, terms=TERMS):
    names = ["train/accuracy", "val/loss", "val/accuracy", *terms]
    lines = [",".join(["epoch", "step", *names])]
    for epoch in range(epochs):
        loss = 2.2 * 0.72**epoch + 0.05
        up = 1 - 0.85 * 0.7**epoch
        values = [up, 1.1 * loss, 0.99 * up, *(loss * (1 + i / 3) for i in range(len(terms)))]
        lines.append(",".join(map(str, [epoch, 10 * epoch + 9, *values])))
    path.write_text("\n".join(lines) + "\n")
    return path


def results(rows, names, photos):
    targets = torch.arange(photos) % len(names)
    logits = {
        r.name: logits_of(r.score("accuracy"), targets, len(names), seed=i)
        for i, r in enumerate(rows)
    }
    generator = torch.Generator().manual_seed(0)

    def images(positions):
        return torch.rand(len(positions), 3, 16, 16, generator=generator)

    tested = NetworkOutputs(logits, targets, rows[-1].name, names, images)
    return Results(rows, CLASSIFICATION, rows[-1].name, Classification().parts(tested))


def write_run(folder, rows=ROWS, names=CLASSES, photos=360, meta=None, curves=("student",)):
    """Write a run's report and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: write_metrics(folder / f"{k}.csv") for k, name in enumerate(curves)}
    facts = {
        "command": "python train.py experiment=compress_digits 'budget={size_mb: 0.1}'",
        "overrides": ["experiment=compress_digits", "budget={size_mb: 0.1}"],
        "name": "digits",
        "seed": 0,
        "data": f"Digits, test split, {photos} images",
        "dataset": "Digits",
        "num_test": photos,
        "image_size": 32,
        "data_fingerprint": "5de9903b" * 8,
        **(meta or {}),
    }
    config = {"name": "digits", "seed": facts["seed"], "module": {"alpha": 0.5}}
    write_report(folder, results(rows, names, photos), files, facts, config)
    return folder


def timed(rows=ROWS):
    """The same rows, every one timed eagerly that has a time."""
    engine = {True: "eager", False: None}
    return [row(r, latency_engine=engine[r.latency_ms is not None]) for r in rows]


def write_json(folder, rows=ROWS, confusion=((3, 1), (0, 4)), class_names=("cat", "dog"), **meta):
    """Write the report.json of a run without its diagrams, and return its folder."""
    facts = {"dataset": "Digits", "num_test": 360, "data": "Digits, test split, 360 images"}
    record = {
        "rows": [r.to_json() for r in rows],
        "machine": {"cpu": "EPYC"},
        "meta": {**facts, "data_fingerprint": "a" * 64, **meta},
        "class_names": class_names,
        "confusion": confusion,
        "subject": rows[-1].name,
    }
    folder.mkdir(parents=True)
    write_sealed(folder / "report.json", record)
    return folder


def write_exports(folder):
    """Leave the record of one file that was written and of one that was refused."""
    written = {"name": "int8-qat", "format": "onnx", "accuracy": 0.9861, "error": None}
    written |= {"path": "int8-qat.onnx", "bytes": 88_123, "runtime": "onnxruntime 1.31"}
    written |= {"agreement": 1.0, "max_difference": 0.01, "sqnr_db": 51.4}
    refused = {"name": "int8-ptq", "format": "coreml", "accuracy": None, "error": "<no> coreml"}
    (folder / "export").mkdir()
    write_sealed(folder / "export" / "exports.json", {"files": [written, refused]})
    return [written, refused]
