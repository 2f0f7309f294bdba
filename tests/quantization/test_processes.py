"""Two processes of half the batch have one range, that of the whole batch."""

from importlib import import_module

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from potstill.models.tiny_cnn import tiny_cnn
from potstill.quantization.freeze import freeze_batch_norm, freeze_observers
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.prepare import prepare

WORLD, STEPS = 2, 3


def make_images(step):
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(8, 3, 16, 16, generator=generator)
    return images * torch.linspace(0.5, 2, 8).view(8, 1, 1, 1)  # the halves have other ranges


def build():
    torch.manual_seed(0)
    network = tiny_cnn(5, width=4).train()
    prepared = prepare(network)
    freeze_batch_norm(prepared)  # its statistics would be each process's own
    return prepared


def train(network, rows):
    """Return the ranges after every step, (steps, 2, quantizers); the last step is frozen."""
    quantizers, found = activation_quantizers(network), []
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(STEPS):
        if step == STEPS - 1:
            freeze_observers(network)
        optimizer.zero_grad()
        network(make_images(step)[rows]).square().mean().backward()
        optimizer.step()
        found.append(torch.stack([torch.cat([getattr(q, end) for q in quantizers])
                                  for end in ("lo", "hi")]))  # fmt: skip
    return torch.stack(found)


def worker(rank, folder):
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", WORLD)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    # Without it, so that the ranges are each process's own doing.
    network: nn.Module = DistributedDataParallel(build(), broadcast_buffers=False)
    found = train(network, slice(4 * rank, 4 * rank + 4))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ranges_of_two_processes(tmp_path):
    mp.start_processes(
        import_module(__name__).worker, (str(tmp_path),), nprocs=WORLD, start_method="spawn"
    )
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first, second)
    alone = train(build(), slice(0, 8))
    torch.testing.assert_close(first, alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(first[1], first[2])
    assert not torch.equal(first[0], first[1])
    half = train(build(), slice(0, 4))
    assert (half - alone).abs().max() > 0.1
