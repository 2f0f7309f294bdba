import torch
import torch.distributed as dist

from potstill.heads.common.counted_step import counted_generator

CPU = torch.device("cpu")


def drawn(*counts):
    return torch.rand(1000, generator=counted_generator(CPU, *counts))


def test_counts_alone_decide():
    torch.manual_seed(1)
    first, state = drawn(0, 7), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, drawn(0, 7))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_neighbours_are_independent():
    rows = torch.stack([drawn(seed, step) for seed in range(4) for step in range(5)])
    correlation = torch.corrcoef(rows) - torch.eye(20)
    assert correlation.abs().max() < 0.15
    assert not torch.equal(drawn(1, 11), drawn(11, 1))


def test_ranks_differ(monkeypatch):
    alone = drawn(0, 7)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    assert torch.equal(alone, drawn(0, 7))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    assert not torch.equal(alone, drawn(0, 7))
