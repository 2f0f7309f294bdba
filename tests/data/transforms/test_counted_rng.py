"""Counted randomness against splitmix64's published numbers and simple statistics."""

import numpy as np
import pytest
import torch

from potstill.data.transforms.counted_rng import generator, key, mix, uniforms

GOLDEN = 0x9E3779B97F4A7C15
# The first outputs of splitmix64 from seed 1234567, as published with the algorithm's reference C.
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def test_mix_is_splitmix64():
    assert [mix((1234567 + n * GOLDEN) % 2**64) for n in range(1, 6)] == PUBLISHED


def plain_uniform(sample_id: int, draw: int, *parts: int) -> float:
    start = mix((sample_id * GOLDEN + key(*parts)) % 2**64)
    return (mix((start + (draw + 1) * GOLDEN) % 2**64) >> 40) / 2**24


def test_uniforms_equal_plain_python():
    ids = [0, 1, 2, 17, 1_281_166, 2**40 + 3]
    got = uniforms(torch.tensor(ids), 4, 7, -1, 3)
    assert got.tolist() == [[plain_uniform(i, d, 7, -1, 3) for d in range(4)] for i in ids]


def test_a_numbers_value_does_not_depend_on_the_batch_or_on_how_many_are_drawn():
    ids = torch.randperm(64)
    whole = uniforms(ids, 5, 1, 2)
    assert torch.equal(whole, torch.cat([uniforms(part, 5, 1, 2) for part in ids.split(17)]))
    assert torch.equal(whole[:, :2], uniforms(ids, 2, 1, 2))


@pytest.mark.parametrize("step", [1, 64])  # neighbouring ids, and ids a power of two apart
@pytest.mark.parametrize("parts", [(0, 0), (0, 1), (1, 0), (123, 45)])
def test_uniforms_look_uniform(step, parts):
    numbers = uniforms(step * torch.arange(100_000), 2, *parts).double().numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in numbers.T:  # five standard errors each
        assert abs(column.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / 1e5)
        assert abs(column.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / 1e5)
        counts = np.bincount((column * 100).astype(int), minlength=100)
        assert 45 < ((counts - 1000) ** 2 / 1000).sum() < 185  # chi2(99): beyond 1e-6 either side
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 5 / np.sqrt(1e5)
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 5 / np.sqrt(1e5)


def test_neighbouring_epochs_seeds_and_views_are_unrelated():
    ids = torch.arange(100_000)
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    columns = np.stack([uniforms(ids, 1, *parts)[:, 0].double().numpy() for parts in keys])
    correlations = np.corrcoef(columns) - np.eye(len(keys))
    assert np.abs(correlations).max() < 5 / np.sqrt(1e5)


def test_the_order_of_key_parts_counts():
    assert len({key(1, 2), key(2, 1), key(1), key(1, 2, 0), key(0, 1, 2)}) == 5


def test_generators_are_reproducible_and_differ():
    draw = [torch.rand(3, generator=generator(*parts)).tolist() for parts in [(1, 2), (1, 3)]]
    assert draw[0] != draw[1]
    assert draw[0] == torch.rand(3, generator=generator(1, 2)).tolist()
