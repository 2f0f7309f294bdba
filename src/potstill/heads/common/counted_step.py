"""Counted random numbers of heads, so that a resumed run draws the same ones."""

import hashlib

import torch
import torch.distributed as dist
from torch import Tensor


class Counted:
    """Count of a head's training calls, on the host: reading one on a GPU would wait for it."""

    step = 0

    def get_extra_state(self) -> Tensor:
        """Return the count as an int64 scalar, for checkpoints."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the count of a checkpoint."""
        self.step = int(state)


def counted_generator(device: torch.device, *counts: int) -> torch.Generator:
    """Return a generator on `device` seeded by `counts` (seed, step, ...) and this rank."""
    is_distributed = dist.is_available() and dist.is_initialized()
    key = (*counts, dist.get_rank() if is_distributed else 0)
    # Hashed, because neighbouring seeds would share most of their bits.
    digest = hashlib.blake2b(repr(key).encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest))
