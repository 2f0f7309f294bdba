"""Losses over relations between images do not depend on the number of processes."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from potstill.heads.base import Head
from potstill.heads.common.gather import gather
from potstill.models.features.outputs import ModelOutputs

WORLD, BATCH = 2, 64

# name -> (module, class, settings); a head of a module that does not exist is left out.
RELATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dist": ("dist", "DIST", {}),
    "mlkd": ("mlkd", "MLKD", {}),
    "mlkd_paper": ("mlkd", "MLKD", {"formula": "paper"}),
    "rkd": ("rkd", "RKD", {}),
    "cc": ("cc", "CC", {}),
    "cc_unembedded": ("cc", "CC", {"embed_dim": None, "teacher": "same_size"}),
    "pkt": ("pkt", "PKT", {}),
    "sp": ("sp", "SP", {"student": "map", "teacher": "map"}),
}
PRESENT = [n for n, (m, *_) in RELATIONS.items() if importlib.util.find_spec(f"potstill.heads.{m}")]


def make(name: str) -> Head:
    module, cls, settings = RELATIONS[name]
    torch.manual_seed(0)
    return getattr(importlib.import_module(f"potstill.heads.{module}"), cls)(**settings)


def draw(*size: int, seed: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def signals(rows: slice, weight: Tensor, seen: Tensor) -> tuple[ModelOutputs, ModelOutputs]:
    """Return both networks' signals for those rows of the batch; the student is `weight`."""
    out, out2 = seen[rows] @ weight, (0.5 * seen[rows]).tanh() @ weight
    student = ModelOutputs(
        out[:, :10],
        {"pooled": out[:, 10:16], "map": out[:, 10:].reshape(-1, 3, 2, 2)},
        views=(ModelOutputs(out2[:, :10]),),
    )
    theirs = draw(BATCH, 60, seed=2)[rows]
    teacher = ModelOutputs(
        3 * theirs[:, :10],
        {
            "pooled": theirs[:, 20:28],
            "same_size": theirs[:, 30:36],
            "map": theirs[:, 36:].reshape(-1, 6, 2, 2),
        },
        views=(ModelOutputs(3 * theirs[:, 10:20]),),
    )
    return student, teacher


def loss_and_gradients(name: str, rows: slice) -> list[Tensor]:
    """Return the loss and its gradients by the student's and the head's parameters."""
    weight, seen = draw(20, 22, seed=0).requires_grad_(), draw(BATCH, 20, seed=1)
    head = make(name)
    head.bind(*signals(slice(0, 2), weight.detach(), seen))
    head.double()
    target = (torch.arange(BATCH) % 10)[rows]
    loss = head(*signals(rows, weight, seen), target)
    return [loss.detach(), *torch.autograd.grad(loss, [weight, *head.parameters()])]


def worker(rank: int, folder: str, names: list[str]) -> None:
    """Do one rank's half of the batch and average as DDP does."""
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", WORLD)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    size, found = BATCH // WORLD, {}
    for name in names:
        values = loss_and_gradients(name, slice(rank * size, (rank + 1) * size))
        for value in values:
            dist.all_reduce(value)
        found[name] = [value / WORLD for value in values]
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory) -> dict[str, list[Tensor]]:
    folder = tmp_path_factory.mktemp("gloo")
    mp.start_processes(worker, (str(folder), PRESENT), nprocs=WORLD, start_method="spawn")
    return torch.load(Path(folder) / "found.pt", weights_only=True)


@pytest.mark.parametrize("name", PRESENT)
def test_two_processes_of_half_the_batch_are_one(name, of_two_processes):
    alone = loss_and_gradients(name, slice(0, BATCH))
    assert alone[1].abs().max() > 0
    for found, expected in zip(of_two_processes[name], alone, strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12 * max(scale, 1e-3))


@pytest.mark.parametrize("name", PRESENT)
def test_half_the_batch_alone_differs(name):
    """So that the test above can fail: these losses do depend on the batch."""
    half = [loss_and_gradients(name, rows)[0] for rows in (slice(0, 32), slice(32, 64))]
    whole = loss_and_gradients(name, slice(0, BATCH))[0]
    assert abs(sum(half).item() / 2 - whole.item()) > 1e-6 * abs(whole.item())


def test_one_process_needs_no_group():
    value = torch.ones(3)
    same: Callable[[Tensor], Tensor] = gather
    assert same(value) is value
