"""Collective operations over the processes of a run; without cost where there is one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_groups: dict[Any, Any] = {}  # a group for what lies on the CPU, by the default group


def rank() -> int:
    """Return this process's number, 0 for the first or the only one."""
    return dist.get_rank() if _is_grouped() else 0


def world() -> int:
    """Return how many processes share the run."""
    return dist.get_world_size() if _is_grouped() else 1


def is_first() -> bool:
    """Return whether this process writes the run's files and speaks to the console."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process has come here."""
    if world() > 1:
        dist.barrier(group=_group())


@contextmanager
def first_goes_ahead() -> Iterator[bool]:
    """Let the first process do something while the others wait; yields whether this is the first.

    What the others do in the same block comes after it: `with ... as first: if first: write()`.
    """
    if not is_first():
        barrier()
    yield is_first()
    if is_first():
        barrier()


def broadcast(value: Any) -> Any:
    """Return the first process's `value`, of types that JSON has; the others' are ignored.

    It comes back as JSON would give it in every process: a tuple as a list, keys as strings.
    """
    return gather(value if is_first() else None)[0]


def gather(value: Any) -> list[Any]:
    """Return the `value` of every process, by rank, as JSON gives it back."""
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    return [json.loads(bytes(part.tolist())) for part in gather_rows(text)]


def gather_rows(rows: Tensor) -> list[Tensor]:
    """Return the rows (N_r, ...) of every rank r, on the CPU; N_r may differ, nothing else."""
    rows = rows.detach().cpu().contiguous()
    if world() == 1:
        return [rows]
    counts = [torch.zeros(1, dtype=torch.int64) for _ in range(world())]
    dist.all_gather(counts, torch.tensor([len(rows)]), group=_group())
    most = max(int(count) for count in counts)
    padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded, group=_group())
    return [part[: int(count)] for part, count in zip(parts, counts, strict=True)]


def in_order(sample_id: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """Return the rows (N_r, ...) of all processes, on the CPU, in the order of their ids (N_r,)."""
    order = torch.cat(gather_rows(sample_id)).argsort()
    return tuple(torch.cat(gather_rows(part))[order] for part in rows)


@torch.no_grad()
def share(network: nn.Module) -> None:
    """Give every process the first one's parameters and buffers, bit for bit.

    Processes that trained together have the same weights; batch-norm's statistics are each
    one's own.
    """
    if world() == 1:
        return
    for value in network.state_dict().values():
        copied = value.cpu().contiguous()
        dist.broadcast(copied.flatten().view(torch.uint8), 0, group=_group())
        value.copy_(copied)


def _is_grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def _group() -> Any:
    """Return a group for the CPU: on GPUs, NCCL's cannot take what lies there."""
    default = dist.group.WORLD
    if dist.get_backend() == "gloo":
        return default
    if default not in _groups:
        _groups[default] = dist.new_group(backend="gloo")
    return _groups[default]
