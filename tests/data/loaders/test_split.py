"""The validation split against its definition, the fingerprint against changes."""

import hashlib

import pytest
import torch

from potstill.data.loaders.split import fingerprint, split_ids
from potstill.errors import ConfigError

TARGETS = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[
    torch.randperm(100, generator=torch.manual_seed(0))
]


@pytest.mark.parametrize("held_out", [1, 10, 37, 99])
def test_the_parts_are_disjoint_complete_and_ascending(held_out):
    kept, taken = split_ids(TARGETS, held_out, seed=0)
    assert len(taken) == held_out
    assert sorted(kept.tolist() + taken.tolist()) == list(range(100))
    assert kept.tolist() == sorted(kept.tolist())
    assert taken.tolist() == sorted(taken.tolist())


def test_classes_keep_their_share():
    _, taken = split_ids(TARGETS, 10, seed=3)
    assert TARGETS[taken].bincount().tolist() == [5, 3, 2]
    _, taken = split_ids(TARGETS, 33, seed=3)
    shares = TARGETS[taken].bincount() - 33 * torch.tensor([0.5, 0.3, 0.2])
    assert shares.abs().max() <= 1


def test_the_choice_is_the_seeds_and_even():
    taken = [split_ids(TARGETS, 10, seed)[1].tolist() for seed in range(400)]
    assert taken[7] == split_ids(TARGETS, 10, 7)[1].tolist()
    counts = torch.tensor(taken).flatten().bincount(minlength=100)  # Binomial(400, 0.1) each
    assert counts.min() >= 10
    assert counts.max() <= 75


@pytest.mark.parametrize("held_out", [0, 100, 101])
def test_a_split_without_two_parts_is_refused(held_out):
    with pytest.raises(ConfigError, match=f"data.val_size={held_out}"):
        split_ids(TARGETS, held_out, seed=0)


def test_the_fingerprint_is_the_sha256_of_what_is_there():
    tensor = torch.tensor([1, 2], dtype=torch.uint8)
    text = b"(2,) torch.uint8\x01\x02\0" + b"'a'\0" + b"raw\0"
    assert fingerprint(tensor, "a", b"raw") == hashlib.sha256(text).hexdigest()


def test_shape_type_and_value_change_the_fingerprint():
    tensors = [
        torch.zeros(4, dtype=torch.uint8),
        torch.zeros(2, 2, dtype=torch.uint8),
        torch.zeros(1),
        torch.tensor([0, 0, 0, 1], dtype=torch.uint8),
    ]
    assert len({fingerprint(tensor) for tensor in tensors}) == 4
