"""Evaluation of every network of a run on the test set, once, at the end; and the report."""

import shlex
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn

from potstill.benchmark.onnx_latency import in_onnxruntime
from potstill.config.program import program
from potstill.data.loaders.epoch_order import single_process
from potstill.distributed import collectives
from potstill.integrity.sealed import read_sealed
from potstill.measure.counts import (
    count_macs,
    count_parameters,
    is_quantized,
    measure_network,
    size_bytes,
)
from potstill.pipeline.experiment import Experiment
from potstill.pipeline.stages.int8 import COST
from potstill.report.budget import Budget
from potstill.report.curves import merge_metrics
from potstill.report.row import Row
from potstill.report.table import rich_table
from potstill.report.write import Results, write_report
from potstill.tasks.parts import NetworkOutputs
from potstill.teacher.frozen import sha256_of
from potstill.training.loggers.wandb import log_summary
from potstill.training.predict import predict


def report(experiment: Experiment) -> None:
    """Test on the held-out test set, measure, print the table and write the run's report.

    Where there are several processes all test, and the first does the rest.
    """
    experiment.run.data.setup("test")
    names = [name for name in experiment.stages if name in experiment.fitted]
    tested = {name: _test(experiment, name) for name in names}
    outputs = {name: found for name, (found, _) in tested.items()}
    targets = tested["student"][1]
    networks = {name: experiment.fitted[name].network for name in names}
    on_validation = {
        name: experiment.score_on_validation(network) for name, network in networks.items()
    }
    if not collectives.is_first():
        return
    timed: dict[str, dict[str, Any]] = {}
    if any(is_quantized(network) for network in networks.values()):
        timed = in_onnxruntime(networks, experiment.run.data.image_shape)
    rows = [
        _row(experiment, name, outputs, targets, on_validation[name], timed.get(name, {}))
        for name in names
    ]
    curves = {
        name: experiment.fitted[name].metrics for name in names if experiment.fitted[name].metrics
    }
    results = _results(experiment, rows, outputs, targets)
    page = write_report(
        experiment.run.folder,
        results,
        curves,
        _facts(experiment, len(targets)),
        experiment.run.settings,
    )
    student = experiment.fitted["student"]
    merge_metrics(student.metrics, experiment.run.folder / "metrics.csv")
    log_summary(student.loggers, [row.to_json() for row in rows], experiment.run.folder)
    experiment.run.console.print(rich_table(rows, experiment.run.task.scoring))
    for warning in _warnings(experiment):
        experiment.run.console.print(f"warning   {warning}", soft_wrap=True, markup=False)
    experiment.run.console.print(f"report    {_short(page)}", soft_wrap=True, markup=False)


def _test(experiment: Experiment, name: str) -> tuple[Tensor, Tensor]:
    network = experiment.fitted[name].network
    loader, title = experiment.run.data.test_dataloader(), f"testing {name}"
    return predict(network, loader, experiment.device_of(network), title)


def _row(
    experiment: Experiment,
    name: str,
    outputs: dict[str, Tensor],
    targets: Tensor,
    on_validation: float,
    timed: dict[str, Any],
) -> Row:
    fitted, task = experiment.fitted[name], experiment.run.task
    teacher = outputs.get("teacher") if name != "teacher" else None
    scores = task.evaluate(outputs[name], targets, teacher)
    return Row(
        name=name,
        stage=experiment.stages[name],
        scores={**scores, task.scoring.val: on_validation},
        epochs=fitted.epochs,
        seconds=fitted.seconds,
        **(costs(fitted.network.cpu(), experiment.run.data.image_shape) | timed),
    )


def costs(network: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return the columns of a row that do not depend on the data.

    PyTorch runs a network of integers by way of floating-point numbers, slower than a network
    that was never quantized: that time means nothing, and is left out.
    """
    if not is_quantized(network):
        return {**measure_network(network, image_shape), "latency_engine": "eager"}
    return {
        "num_parameters": count_parameters(network),
        "macs": count_macs(network, image_shape),
        "size_bytes": size_bytes(network),
    }


def _results(
    experiment: Experiment, rows: list[Row], outputs: dict[str, Tensor], targets: Tensor
) -> Results:
    """Return table and page; the page looks closely at the network that the run ends with."""
    subject, task = list(outputs)[-1], experiment.run.task
    images = partial(_images, experiment)
    tested = NetworkOutputs(outputs, targets, subject, experiment.run.data.class_names, images)
    return Results(rows, task.scoring, subject, task.parts(tested))


def _images(experiment: Experiment, positions: Tensor) -> Tensor:
    """Return test images (E, 3, H, W) by position, in 0 .. 1 as before normalisation."""
    data = experiment.run.data
    if not len(positions):
        return torch.empty(0, *data.image_shape)
    # Only these: reading a whole test set again takes minutes where it lies in files.
    with single_process():
        loader = data.eval_loader(data.subset("test", positions))
        images = torch.cat([batch[0].cpu() for batch in loader])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    return images * std + mean


def _facts(experiment: Experiment, num_test: int) -> dict[str, Any]:
    overrides = [str(override) for override in HydraConfig.get().overrides.task]
    teacher, budget = experiment.fitted.get("teacher"), Budget.of(experiment.run.cfg.budget)
    dataset, labelled = experiment.run.data.dataset_name, experiment.run.data.labelled
    few = f"; labels of {len(labelled):,} training images" if labelled is not None else ""
    return {
        # Quoted where brackets or braces would mean something to the shell.
        "command": shlex.join([*program(), *overrides]),
        "overrides": overrides,
        "name": experiment.run.cfg.name,
        "seed": experiment.run.cfg.seed,
        "data": f"{dataset}, test split, {num_test} images{few}",
        "dataset": dataset,
        "num_test": num_test,
        "num_train": experiment.run.data.num_train,
        "num_labelled": None if labelled is None else len(labelled),
        "image_size": experiment.run.data.image_size,
        "data_fingerprint": experiment.run.data.fingerprint,
        "epoch": f"the {experiment.run.cfg.select} one",
        "device": str(experiment.run.device),
        "teacher_sha256": sha256_of(teacher.network) if teacher else None,
        "budget": asdict(budget) if budget else None,
        **({"warnings": " ".join(found)} if (found := _warnings(experiment)) else {}),
    }


def _warnings(experiment: Experiment) -> list[str]:
    """Return what stages warned of, in this attempt of the run or an earlier one."""
    files = [fitted.folder / COST for fitted in experiment.fitted.values()]
    found = [read_sealed(file)["warning"] for file in files if file.is_file()]
    return [warning for warning in found if warning]


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
