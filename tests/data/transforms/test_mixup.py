"""Mixup and CutMix against torchvision's arithmetic and closed forms of the Beta distribution."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from torchvision.transforms import v2

from potstill.data.transforms.counted_rng import uniforms
from potstill.data.transforms.mixup import _DRAWS, _MIX, Mix, _beta, cut_box
from potstill.errors import ConfigError

K, NUM_SAMPLES, SIZE = 5, 50, (10, 14)
IDS = torch.arange(40)


@pytest.fixture(scope="module")
def make_images():
    generator = torch.manual_seed(0)
    return torch.randn(NUM_SAMPLES, 3, *SIZE, generator=generator), torch.arange(NUM_SAMPLES) % K


def mixed(mix, make_images, epoch=0):
    mixture = mix.plan(IDS, epoch, NUM_SAMPLES, SIZE)
    ids = mixture.ids(IDS)
    return mixture, mixture.images(make_images[0][ids]), mixture.targets(make_images[1][ids])


def theirs(monkeypatch, transform, share, places, make_images, own, other):
    """Return torchvision's (image, target) of a pair, for a share and places drawn before."""
    transform._dist = SimpleNamespace(sample=lambda shape: torch.tensor(share))
    places = iter(places)
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor([next(places)]))
    images, targets = transform(make_images[0][[own, other]], make_images[1][[own, other]])
    monkeypatch.undo()
    return images[0], targets[0]


def draws(seed, epoch=0):
    return uniforms(IDS, _DRAWS, _MIX, seed, epoch).tolist()


def test_mixup_equals_torchvisions(monkeypatch, make_images):
    mixture, images, targets = mixed(Mix(3, K, mixup=0.4), make_images)
    for i, row in enumerate(draws(3)):
        share = scipy.stats.beta.ppf(row[3], 0.4, 0.4)
        pair = (i, mixture.partner[i].item())
        image, target = theirs(monkeypatch, v2.MixUp(num_classes=K), share, (), make_images, *pair)
        torch.testing.assert_close(images[i], image.float(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(targets[i], target.float(), rtol=1e-5, atol=1e-6)


def test_cutmix_equals_torchvisions(monkeypatch, make_images):
    mixture, images, targets = mixed(Mix(3, K, cutmix=1.0), make_images)
    for i, row in enumerate(draws(3)):
        pair = (i, mixture.partner[i].item())
        places = int(row[5] * SIZE[1]), int(row[4] * SIZE[0])
        image, target = theirs(
            monkeypatch, v2.CutMix(num_classes=K), row[3], places, make_images, *pair
        )
        assert torch.equal(images[i], image)
        torch.testing.assert_close(targets[i], target)


def test_targets_are_probabilities_that_follow_the_pixels(make_images):
    for mix in (Mix(0, K, mixup=1.0), Mix(0, K, cutmix=1.0), Mix(0, K, 0.2, 1.0)):
        mixture, _, targets = mixed(mix, make_images)
        assert targets.dtype == torch.float32
        torch.testing.assert_close(targets.sum(1), torch.ones(40))
        white = torch.cat([torch.ones(40, 3, *SIZE), torch.zeros(40, 3, *SIZE)])
        left = mixture.images(white).mean((1, 2, 3))  # of the own image
        torch.testing.assert_close(left, mixture.share)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.0, 8.0])
def test_shares_are_quantiles_of_the_beta_distribution(alpha):
    uniform = (torch.arange(64) + 0.5) / 64
    share = _beta(alpha, uniform).numpy()
    u = uniform.numpy()
    closed = {0.5: lambda: np.sin(np.pi * u / 2) ** 2, 1.0: lambda: u}
    if alpha in closed:
        np.testing.assert_allclose(share, closed[alpha](), rtol=1e-6)
    if alpha == 2.0:
        np.testing.assert_allclose(3 * share**2 - 2 * share**3, u, rtol=1e-6)
    np.testing.assert_allclose(share, scipy.stats.beta.ppf(u, alpha, alpha), rtol=1e-6)


def test_partners_are_other_samples_and_every_one_may_be():
    ids = torch.arange(2400)
    mixture, later = (Mix(1, K, mixup=1.0).plan(ids, epoch, 2400, SIZE) for epoch in (0, 1))
    assert (mixture.partner != ids).all()
    assert mixture.partner.min() >= 0
    assert mixture.partner.max() < 2400
    gaps = (mixture.partner - ids) % 2400
    counts = np.bincount(gaps.numpy() * 24 // 2400, minlength=24)
    assert ((counts - 100) ** 2 / 100).sum() < 60  # chi2(23): beyond 1e-4
    assert (later.partner != mixture.partner).float().mean() > 0.99


def test_with_both_each_image_gets_one_of_them_half_and_half(make_images):
    ids = torch.arange(2000)
    cut = Mix(0, K, 0.2, 1.0).plan(ids, 0, 2000, SIZE).cut
    assert 900 < cut.sum() < 1100
    assert not Mix(0, K, mixup=0.2).plan(ids, 0, 2000, SIZE).cut.any()
    assert Mix(0, K, cutmix=0.2).plan(ids, 0, 2000, SIZE).cut.all()


def test_boxes_stay_inside_and_have_their_area():
    share = torch.tensor([0.0, 0.75, 1.0], dtype=torch.float64)
    box = cut_box(share, (32, 32), torch.tensor([[0.5, 0.5], [0.5, 0.0], [0.9, 0.9]]))
    assert box.tolist() == [[0, 0, 32, 32], [8, 0, 24, 8], [28, 28, 28, 28]]


def test_a_plan_does_not_depend_on_the_batch_but_on_seed_epoch_and_id(make_images):
    mix = Mix(2, K, 0.3, 1.0)

    def plan(ids, mix=mix, epoch=0):
        mixture = mix.plan(ids, epoch, NUM_SAMPLES, SIZE)
        columns = (mixture.partner, mixture.share, mixture.box, mixture.cut)
        return torch.cat([column.double().view(len(ids), -1) for column in columns], 1)

    whole = plan(IDS)
    assert torch.equal(whole, torch.cat([plan(part) for part in IDS.split(7)]))
    others = (plan(IDS, epoch=1), plan(IDS, mix=Mix(3, K, 0.3, 1.0)), plan(IDS + 1))
    assert all((whole != other).any(1).sum() > 35 for other in others)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("alpha", [-1.0, float("inf"), float("nan")])
def test_impossible_alphas_are_refused(name, alpha):
    with pytest.raises(ConfigError, match=f"data.{name}={alpha}"):
        Mix(0, K, **{name: alpha})
