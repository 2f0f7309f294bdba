import pytest
import torch
import torch.nn.functional as F

from potstill.heads.ft import FT, factor_transfer_loss
from tests.support.feature_cases import (
    bound,
    golden,
    golden_maps,
    loss_of,
    signals,
    t,
    two_maps,
)


def test_official_value():
    assert factor_transfer_loss(*golden_maps()).item() == pytest.approx(
        golden("ft_factor_p2_1"), rel=1e-9
    )


@pytest.mark.parametrize("p2", [1.0, 2.0, 3.0])
def test_the_papers_factors_keep_their_channels(p2):
    student, teacher = t((3, 2, 2, 2), 0.9, 0.2), t((3, 2, 2, 2), 0.7, 0.3)
    ours, theirs = F.normalize(student.flatten(1)), F.normalize(teacher.flatten(1))
    expected = sum(
        abs(a - b) ** p2
        for a, b in zip(ours.flatten().tolist(), theirs.flatten().tolist(), strict=True)
    )
    got = factor_transfer_loss(student, teacher, p1=None, p2=p2).item()
    assert got == pytest.approx(expected / ours.numel(), rel=1e-12)


def _coded(weights: dict, part: str, feature: torch.Tensor) -> torch.Tensor:
    for index in (0, 2, 4):
        weight, bias = (weights[f"adapters.0.{part}.{index}.{kind}"] for kind in ("weight", "bias"))
        convolve = F.conv_transpose2d if part == "decoder" else F.conv2d
        feature = F.leaky_relu(convolve(feature, weight, bias, padding=1), 0.1)
    return feature


@pytest.mark.parametrize("weight", [None, 5.0])
def test_value_is_the_factors_and_the_reconstruction_at_weight_one(weight):
    student, teacher = golden_maps()
    head = bound(FT(weight=weight), [student], [teacher])
    weights = head.state_dict()
    factor = _coded(weights, "paraphraser", teacher)
    assert factor.shape == (8, 6, 4, 4)  # k = 0.5 of 12 channels
    reconstruction = F.mse_loss(_coded(weights, "decoder", factor), teacher)
    transfer = factor_transfer_loss(_coded(weights, "translator", student), factor)
    expected = transfer + reconstruction / (weight or 200.0)
    assert loss_of(head, [student], [teacher]).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_paraphraser_learns_from_its_reconstruction_alone():
    student, teacher = golden_maps()
    student.requires_grad_()
    head = bound(FT(), [student], [teacher])
    transfer = head.adapters[0]
    translated, factor, reconstruction = transfer(student, teacher)
    assert not factor.requires_grad
    loss_of(head, [student], [teacher]).backward()
    theirs = [*transfer.paraphraser.parameters(), *transfer.decoder.parameters()]
    wanted = torch.autograd.grad(reconstruction / 200, theirs)
    for parameter, gradient in zip(theirs, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    ours = [student, *transfer.translator.parameters()]
    wanted = torch.autograd.grad(factor_transfer_loss(translated, factor), ours)
    for parameter, gradient in zip(ours, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_weight_zero_still_gives_every_parameter_a_gradient():
    student, teacher = golden_maps()
    head = bound(FT(weight=0.0), [student], [teacher])
    loss_of(head, [student], [teacher]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_pairs_are_summed():
    students, teachers = two_maps()
    head = bound(FT(["a", "b"], ["c", "d"]), students, teachers)
    expected = 0.0
    for adapter, ours, theirs in zip(head.adapters, students, teachers, strict=True):
        single = FT("a", "c")
        single.adapters.append(adapter)
        expected += loss_of(single, [ours], [theirs]).item()
    assert loss_of(head, students, teachers).item() == pytest.approx(expected, rel=1e-12)


def test_pooled_vectors_need_the_papers_factors():
    features = [torch.randn(2, 3)], [torch.randn(2, 5)]
    head = FT("pooled", "pooled")
    with pytest.raises(ValueError, match="one position"):
        head.bind(*signals(head, *features))
    head = bound(FT("pooled", "pooled", p1=None), *features)
    assert loss_of(head, *features).item() > 0


@pytest.mark.parametrize("settings", [{"k": 0}, {"p1": 0.5}, {"p2": 0.5}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        FT(**settings)
