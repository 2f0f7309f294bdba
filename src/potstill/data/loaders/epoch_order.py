"""Sample order of an epoch, its batches, and the position reached in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from potstill.data.transforms.counted_rng import generator
from potstill.errors import ConfigError

_ORDER = 1  # keeps the stream of orders apart from other uses of the same seed


def epoch_order(num_samples: int, seed: int, epoch: int) -> Tensor:
    """Return the sample ids of an epoch in their order, (num_samples,) int64.

    Example:
        >>> order = epoch_order(100, seed=0, epoch=3)
        >>> torch.equal(order.sort().values, torch.arange(100))
        True
        >>> torch.equal(order, epoch_order(100, seed=0, epoch=3))
        True
    """
    return torch.randperm(num_samples, generator=generator(_ORDER, seed, epoch))


_single_process: list[bool] = []  # not empty inside `single_process`


@contextmanager
def single_process() -> Iterator[None]:
    """Let loaders iterated inside read the whole split in this process, however many there are.

    For work that one of several processes does by itself.
    """
    _single_process.append(True)
    try:
        yield
    finally:
        _single_process.pop()


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of processes: (0, 1) without torch.distributed."""
    if _single_process:
        return 0, 1
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def train_batches(order: Tensor, batch_size: int, drop_last: bool) -> list[Tensor]:
    """Return this process's part of each step's samples.

    A step takes the next `batch_size * world` ids, and rank r the rows r, r + world, ... of
    them: which samples a step sees does not depend on how many processes share them.

    Example:
        >>> from torch import arange
        >>> train_batches(arange(5), batch_size=2, drop_last=False)
        [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """
    rank, world = rank_and_world()
    steps = list(order.split(batch_size * world))
    # A rest smaller than the world would leave a rank with nothing while the others wait.
    if len(steps[-1]) < (batch_size * world if drop_last else world):
        steps.pop()
    return [step[rank::world] for step in steps]


def eval_batches(num_samples: int, batch_size: int) -> list[Tensor]:
    """Return this process's share of a split, each sample on one rank only, in order.

    Every rank gets the same number of batches, none of them empty: ranks that ran a different
    number of forwards would wait for each other for ever.
    """
    rank, world = rank_and_world()
    share = torch.arange(num_samples)[rank::world]
    count = ceil(ceil(num_samples / world) / batch_size)  # of the largest share
    batches = share.split(batch_size)
    return list(batches if len(batches) == count else share.tensor_split(count))


class EpochLoader:
    """An iterable over the batches of epoch 0, 1, 2, ... whose place can be saved and restored.

    Subclasses implement `read(batches)`. A full pass moves on to the next epoch; Lightning,
    which stops short of the end of the iterator, calls `sampler.set_epoch` instead. Where
    `clock` is set, it gives the epoch whenever a pass begins.

    The state is absolute, {"epoch", "batch"}: batch counts what was handed out since the
    epoch's start, also after a resume.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int, drop_last: bool) -> None:
        self.num_samples, self.batch_size = num_samples, batch_size
        self.seed, self.drop_last = seed, drop_last
        self.epoch, self.batch, self._start = 0, 0, 0
        self.clock: Callable[[], int] | None = None
        if len(self) == 0:
            raise ConfigError(
                f"data.batch_size={batch_size}: {num_samples} training samples do not fill one "
                f"batch on {rank_and_world()[1]} process(es). Fix: a smaller data.batch_size"
            )

    def __len__(self) -> int:
        return len(train_batches(torch.arange(self.num_samples), self.batch_size, self.drop_last))

    @property
    def sampler(self) -> "EpochLoader":
        """Return the object on which Lightning calls `set_epoch`: the loader itself."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`, or stay at the place in it that was restored."""
        if epoch != self.epoch:
            self.epoch, self.batch, self._start = epoch, 0, 0

    def sample_ids(self, epoch: int) -> Tensor:
        """Return the samples this process sees in `epoch`, in their order."""
        return torch.cat(self._batches(epoch))

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and how many of its batches were handed out."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass begin at a place that `state_dict` returned."""
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
        self._start = self.batch

    def order(self, epoch: int) -> Tensor:
        """Return the sample ids of `epoch` in their order, (num_samples,) int64."""
        return epoch_order(self.num_samples, self.seed, epoch)

    def _batches(self, epoch: int) -> list[Tensor]:
        return train_batches(self.order(epoch), self.batch_size, self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        # A generator: nothing is fixed before the first `next`, because Lightning makes the
        # iterator before it sets its epoch.
        if self.clock:
            self.set_epoch(self.clock())
        self.batch, self._start = self._start, 0
        for batch in self.read(self._batches(self.epoch)[self.batch :]):
            self.batch += 1
            yield batch
        self.set_epoch(self.epoch + 1)

    def read(self, batches: list[Tensor]) -> Iterator[Any]:
        """Yield the batch of samples for each tensor of ids, in `self.epoch`."""
        raise NotImplementedError
