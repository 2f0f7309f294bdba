"""The in-memory loaders against torchvision's normalisation and plain indexing."""

import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from potstill.data.loaders.epoch_order import epoch_order
from potstill.data.loaders.in_memory import ArrayEvalLoader, ArrayLoader, Images, Normalize
from potstill.data.loaders.views import Viewing
from potstill.data.transforms.crop_flip import Augment
from potstill.data.transforms.mixup import Mix

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def make_images():
    generator = torch.manual_seed(0)
    images = torch.randint(0, 256, (22, 3, 6, 6), dtype=torch.uint8, generator=generator)
    return Images(images, torch.randint(0, 5, (22,), generator=generator))


def reference(image):
    return TF.normalize(TF.to_dtype(image, torch.float32, scale=True), MEAN, STD)


def test_normalize_equals_torchvisions(make_images):
    got = Normalize(MEAN, STD)(make_images.images)
    torch.testing.assert_close(got, reference(make_images.images), rtol=0, atol=2e-6)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_evaluation_hands_out_the_images_as_they_are(make_images):
    batches = list(ArrayEvalLoader(make_images, 8, Normalize(MEAN, STD)))
    images, targets, ids = (torch.cat(column) for column in zip(*batches, strict=True))
    assert ids.tolist() == list(range(22))
    assert torch.equal(targets, make_images.targets)
    torch.testing.assert_close(images, reference(make_images.images), rtol=0, atol=2e-6)


def test_training_hands_out_augmented_images_with_their_own_targets_and_ids(make_images):
    augment = Augment(seed=9, crop_padding=2, flip=True)
    loader = ArrayLoader(make_images, 8, Viewing(augment), Normalize(MEAN, STD))
    for epoch in range(2):
        order = epoch_order(22, 9, epoch)
        for step, (image, target, sample_id) in enumerate(loader):
            assert sample_id.tolist() == order[8 * step : 8 * step + 8].tolist()
            assert torch.equal(target, make_images.targets[sample_id])
            expected = augment(make_images.images[sample_id], sample_id, epoch)
            torch.testing.assert_close(image, reference(expected), rtol=0, atol=2e-6)
            assert image.is_contiguous(memory_format=torch.channels_last)
        assert step == len(loader) - 1 == 1


def test_images_do_not_depend_on_the_batch_size(make_images):
    def seen(batch_size):
        viewing = Viewing(Augment(seed=9, crop_padding=2, flip=True))
        loader = ArrayLoader(
            make_images, batch_size, viewing, Normalize(MEAN, STD), drop_last=False
        )
        batches = [batch for _ in range(2) for batch in loader]
        return torch.cat([image for image, _, _ in batches])

    assert torch.equal(seen(4), seen(7))


def test_two_views_are_two_images_of_the_same_sample(make_images):
    augment = Augment(seed=9, crop_padding=2, flip=True)
    loader = ArrayLoader(make_images, 8, Viewing(augment, count=2), Normalize(MEAN, STD))
    (first, second), _, sample_id = next(iter(loader))
    for view, image in enumerate((first, second)):
        expected = augment(make_images.images[sample_id], sample_id, 0, view)
        torch.testing.assert_close(image, reference(expected), rtol=0, atol=2e-6)
    single = next(iter(ArrayLoader(make_images, 8, Viewing(augment), Normalize(MEAN, STD))))[0]
    assert torch.equal(single, first)
    assert not torch.equal(first, second)


def test_mixed_images_are_both_augmented_and_normalised(make_images):
    augment, mix = Augment(seed=9, crop_padding=2, flip=True), Mix(9, 5, mixup=0.4)
    viewing = Viewing(augment, mix, cycle=2)
    loader = ArrayLoader(make_images, 8, viewing, Normalize(MEAN, STD))
    for epoch in range(3):
        for image, target, ids in loader:
            mixture = mix.plan(ids, epoch % 2, 22, (6, 6))
            share = mixture.share.view(-1, 1, 1, 1)
            both = [
                reference(augment(make_images.images[who], who, epoch % 2))
                for who in (ids, mixture.partner)
            ]
            expected = share * both[0] + (1 - share) * both[1]
            torch.testing.assert_close(image, expected, rtol=0, atol=4e-6)
            assert image.is_contiguous(memory_format=torch.channels_last)
            for row, i, j, part in zip(target, ids, mixture.partner, mixture.share, strict=True):
                hand = torch.zeros(5)
                hand[make_images.targets[i]] += part
                hand[make_images.targets[j]] += 1 - part
                torch.testing.assert_close(row, hand)
