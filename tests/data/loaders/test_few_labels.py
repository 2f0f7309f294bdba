"""Few labels: which images keep theirs, and what training shows."""

import pytest
import torch

from potstill.data.digits import Digits
from potstill.data.loaders.few_labels import UNLABELLED, labelled_ids, shown
from potstill.data.loaders.in_memory import Images
from potstill.errors import ConfigError, DataError

TARGETS = torch.tensor([0] * 9 + [1] * 3 + [2] * 5)


@pytest.mark.parametrize("seed", range(3))
def test_every_class_keeps_as_many(seed):
    chosen = labelled_ids(TARGETS, 3, seed)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert TARGETS[chosen].bincount().tolist() == [3, 3, 3]


def test_the_choice_is_the_seeds_and_even():
    taken = [labelled_ids(TARGETS, 3, seed) for seed in range(300)]
    assert torch.equal(taken[5], labelled_ids(TARGETS, 3, 5))
    counts = torch.cat(taken).bincount(minlength=len(TARGETS))[:9]  # Binomial(300, 1/3) each
    assert counts.min() >= 70
    assert counts.max() <= 130


def test_a_class_with_fewer_is_named():
    with pytest.raises(DataError, match=r"labels_per_class=4: class 1 has 3 .* Fix: 3 or fewer"):
        labelled_ids(TARGETS, 4, 0)


def test_what_is_shown():
    split = Images(torch.arange(17)[:, None, None, None], TARGETS)
    chosen = torch.tensor([2, 9, 16])
    assert shown(split, chosen, "all") is split
    few = shown(split, chosen, "few")
    assert torch.equal(few.images, split.images)
    expected = torch.full((17,), UNLABELLED)
    expected[chosen] = torch.tensor([0, 1, 2])
    assert torch.equal(few.targets, expected)
    only = shown(split, chosen, "only")
    assert only.images.flatten().tolist() == ([2, 9, 16] * 6)[:17]
    assert only.targets.tolist() == ([0, 1, 2] * 6)[:17]


@pytest.mark.parametrize("labels", ["all", "few", "only"])
def test_an_epoch_of_digits(labels):
    """As many steps whatever is shown; the images of "only" are augmented differently each time."""
    data = Digits(image_size=8, labels_per_class=2, crop_padding=1)
    data.setup("fit")
    data.labels = labels
    images, targets, ids = map(torch.cat, zip(*data.train_dataloader(), strict=True))
    assert len(data.train_dataloader()) == 1257 // data.batch_size
    seen = targets != UNLABELLED
    if labels == "only":
        assert seen.all()
        assert len(images.flatten(1).unique(dim=0)) > 40  # of 20 images
    else:
        assert torch.equal(targets[seen], data.train_targets[ids[seen]])
        chosen = torch.isin(ids, data.labelled)
        assert torch.equal(seen, chosen if labels == "few" else torch.ones_like(chosen))


def test_mixed_images_have_no_missing_label():
    with pytest.raises(ConfigError, match=r"data.labels_per_class=2: mixup"):
        Digits(labels_per_class=2, mixup=0.2)
