"""Channels that move between the layer that makes them and the one that reads them."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.support.odd_nets import Moved, images, kept, moved_without, prune, seeded


def halves_swapped(x):
    return torch.cat(x.chunk(2, 1)[::-1], 1)


def shuffled_by_hand(x):
    n, c, h, w = x.shape
    return x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)


def half_first(x):
    middle = x.shape[1] // 2
    return torch.cat([x[:, middle:], x[:, :middle]], 1)


MOVES = {  # what moves, channels after it
    "flip": (lambda x: x.flip(1), 16),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 4), 16),
    "shuffle by hand": (shuffled_by_hand, 16),
    "chunk": (halves_swapped, 16),
    "slices": (half_first, 16),
    "split": (lambda x: torch.cat(x.split(x.shape[1] // 2, 1)[::-1], 1), 16),
    "every second": (lambda x: x[:, 1::2], 8),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 1), 32),
    "repeat": (lambda x: x.repeat(1, 2, 1, 1), 32),
    "interleaved": (lambda x: torch.stack([x, x * 2], 2).flatten(1, 2), 32),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), 4),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), 64),
    "padded": (lambda x: F.pad(x, (0, 0, 0, 0, 2, 1)), 19),
    "glu": (lambda x: F.glu(x, 1), 8),
}
KEPT = {
    "roll": (lambda x: x.roll(3, 1), 16),
    "picked": (lambda x: x[:, torch.arange(0, 16, 2)], 8),
    "index_select": (lambda x: x.index_select(1, torch.arange(15, -1, -1)), 16),
    "unequal split": (lambda x: torch.cat(x.split([4, 12], 1)[::-1], 1), 16),
    "slice in the middle": (lambda x: x[:, 3:11], 8),
    "softmax": (lambda x: x.softmax(1), 16),
    "gate of a mean": (lambda x: x * torch.sigmoid(x.mean(1, keepdim=True)), 16),
    "transposed convolution": (nn.ConvTranspose2d(16, 20, 2, 2), 20),
    "cumsum": (lambda x: x.cumsum(1), 16),
}
WIDTHS_IN_CODE = {
    "split": (lambda x: torch.cat(x.split(8, 1)[::-1], 1), 16),
    "slice": (lambda x: x[:, :8], 8),
    "written in place": (lambda x: _doubled(x.clone()), 16),
    "chosen by sign": (lambda x: torch.where(x > 0.5, x, torch.zeros_like(x)), 16),
}


def _doubled(x):
    x[:, :8].mul_(2)
    return x


def check(dense, pruned, plan):
    with torch.no_grad():
        found, wanted = pruned(images()), moved_without(dense, plan, images())
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("name", MOVES)
def test_channels_are_followed(name):
    dense = seeded(lambda: Moved(*MOVES[name]))
    pruned = copy.deepcopy(dense)
    done = prune(pruned)
    assert len(kept(done.plan, "first", 16)) == 8
    check(dense, pruned, done.plan)


@pytest.mark.parametrize("name", KEPT)
def test_channels_that_are_counted_stay(name):
    dense = seeded(lambda: Moved(*KEPT[name]))
    pruned = copy.deepcopy(dense)
    done = prune(pruned)
    assert done.widths == {"second": [12, 6]}
    check(dense, pruned, done.plan)


@pytest.mark.parametrize("name", WIDTHS_IN_CODE)
def test_what_the_network_writes_down_stays_and_is_named(name):
    dense = seeded(lambda: Moved(*WIDTHS_IN_CODE[name]))
    pruned = copy.deepcopy(dense)
    with pytest.warns(UserWarning, match=r"Moved: .*first cannot be pruned.*untouchable=\[first\]"):
        done = prune(pruned)
    assert done.widths == {"second": [12, 6]}
    check(dense, pruned, done.plan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = copy.deepcopy(dense)
        assert prune(again, untouchable=["first"]).plan == done.plan
