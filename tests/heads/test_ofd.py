import copy
from statistics import NormalDist

import pytest
import torch

from potstill.heads import ofd
from potstill.heads.ofd import OFD, fit_margin, negative_mean, partial_distance
from tests.support.feature_cases import (
    CASES,
    DTYPES,
    check_numerics,
    golden,
    loss_of,
    t,
)
from tests.support.tiny_nets import as_outputs, bind, cnn, make_images, vit

ONE = "level-2:preact"


def test_official_distance():
    student, teacher = t((8, 6, 8, 8), 0.3, 0.1), t((8, 6, 8, 8), 0.4, 0.2)
    margin = -(t((1, 6, 1, 1), 0.3, 0.5).abs() + 0.1)
    loss = partial_distance(student, teacher, margin)
    assert loss.item() == pytest.approx(golden("ofd_feat_loss"), rel=1e-9)


@pytest.mark.parametrize(
    ("student", "teacher", "cost"),
    [(3.0, 1.0, 4.0), (0.0, 1.0, 1.0), (-9.0, -0.5, 0.0), (0.0, -0.5, 0.25), (0.0, -7.0, 1.0)],
)
def test_cost_of_one_value(student, teacher, cost):
    one = torch.ones(1, 1, 1, 1)
    assert partial_distance(student * one, teacher * one, -1 * one).item() == cost


def test_gradient():
    student, teacher = t((2, 3, 2, 2), 0.3, 0.1, 2.0), t((2, 3, 2, 2), 0.47, 0.2, 2.0)
    margin = torch.full((1, 3, 1, 1), -0.7, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: partial_distance(x, teacher, margin), student.requires_grad_()
    )


def integral(mean, std):
    """E[x | x < 0], summed in small steps below zero."""
    normal, count = NormalDist(mean, std), 20000
    low = mean - 12 * std
    width = -low / count
    middles = [low + (k + 0.5) * width for k in range(count)]
    weights = [normal.pdf(x) for x in middles]
    return sum(w * x for w, x in zip(weights, middles, strict=True)) / sum(weights)


@pytest.mark.parametrize("mean", [-2.0, -0.3, 0.0, 0.4, 2.0])
@pytest.mark.parametrize("std", [0.7, -0.7])
def test_margin_is_the_mean_below_zero(mean, std):
    found = negative_mean(torch.tensor([mean]).double(), torch.tensor([std]).double())
    assert found.item() == pytest.approx(integral(mean, abs(std)), rel=1e-5)


def test_margin_where_nothing_is_below_zero():
    mean, std = torch.tensor([3.2, 3.0, 5.0, 0.0, -2.0]), torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0])
    found = negative_mean(mean, std).tolist()
    assert NormalDist(3.2).cdf(0) < 1e-3 < NormalDist(3.0).cdf(0)
    assert found[0] == pytest.approx(-3)
    assert found[1] == pytest.approx(integral(3.0, 1.0), rel=1e-3)
    assert found[2:] == pytest.approx([-1.5, 0.0, -2.0])


def test_margins_come_from_the_teachers_batch_norms():
    teacher = cnn(6, 8, 12, seed=1)
    head = OFD()
    bind(head, cnn(), teacher)
    for k, block in enumerate(teacher.layers[1:]):
        expected = [
            integral(bias, weight)
            for bias, weight in zip(block.bn2.bias.tolist(), block.bn2.weight.tolist(), strict=True)
        ]
        margin = head.get_buffer(f"margin{k}")
        assert margin.shape == (1, len(expected), 1, 1)
        assert margin.flatten().tolist() == pytest.approx(expected, rel=1e-4)
    assert set(head.state_dict()) >= {"margin0", "margin1", "margin2", "_extra_state"}
    assert not any(p is q for p in head.parameters() for q in teacher.parameters())


def test_deeper_stages_weigh_more():
    head, student, teacher = OFD(), cnn(), cnn(6, 8, 12, seed=1)
    ours, theirs = bind(head, student, teacher)
    student, teacher = ours(make_images(4)), theirs(make_images(4))
    total = 0.0
    for k, (mine, other) in enumerate(zip(head.student_layers, head.teacher_layers, strict=True)):
        connected = head.connectors[k](student.features[mine])
        margin = head.get_buffer(f"margin{k}")
        distance = partial_distance(connected, teacher.features[other], margin)
        total += distance.item() * [0.25, 0.5, 1.0][k]
    assert head(student, teacher, torch.zeros(4)).item() == pytest.approx(total, rel=1e-6)
    assert head.weight_at(0) == 1e-3


def test_larger_teacher_is_averaged():
    head = OFD("level-1:preact", ONE)
    bind(head, cnn(), cnn(6, 8, 12, seed=1))
    fs, ft = t((2, 10, 4, 4), 0.3, 0.1).float(), t((2, 8, 8, 8), 0.4, 0.2).float()
    pooled = ft.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    expected = partial_distance(head.connectors[0](fs), pooled, head.margin0)
    assert loss_of(head, [fs], [ft]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_teacher_without_batch_norm_is_fitted_by_the_first_training_batch():
    head = OFD(ONE, "level-1:preact")
    ours, theirs = bind(head, cnn(), vit())
    student, teacher = ours(make_images(4)), theirs(make_images(4))
    head.eval()(student, teacher, torch.zeros(4))
    assert head.is_fitted == [False]
    head.train()(student, teacher, torch.zeros(4))
    tokens = teacher.features["level-1:preact"][:, 1:].double()
    channels = tokens.flatten(0, 1).T
    expected = [integral(c.mean().item(), c.std(correction=0).item()) for c in channels]
    assert head.margin0.flatten().tolist() == pytest.approx(expected, rel=1e-4)
    kept = copy.deepcopy(head.state_dict())
    head(ours(make_images(4, seed=1)), theirs(make_images(4, seed=1)), torch.zeros(4))
    assert torch.equal(head.margin0, kept["margin0"])
    again = OFD(ONE, "level-1:preact")
    bind(again, cnn(), vit())
    again.load_state_dict(kept)
    assert torch.equal(again._margin(0, torch.zeros(2, 12, 8, 8)), kept["margin0"])


def test_fit_over_ranks_is_the_fit_of_all(monkeypatch):
    both = t((6, 3, 4, 4), 0.37, 0.3, 2.0)
    halves = both[:3] + 1, both[3:]
    both = torch.cat(halves)
    moments = [
        torch.stack([x.mean((0, 2, 3)) for x in halves]),
        torch.stack([x.var((0, 2, 3), correction=0) for x in halves]),
    ]
    expected = fit_margin(both)
    monkeypatch.setattr(ofd, "gather", lambda local: moments.pop(0))
    torch.testing.assert_close(fit_margin(halves[0]), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("teacher", [cnn, vit])
def test_numerics(dtype, case, teacher):
    head = OFD(ONE, ONE if teacher is cnn else "level-1:preact")
    bind(head, cnn(), teacher())
    width = 8 if teacher is cnn else 12
    check_numerics(head, [(4, 8, 8, 8)], [(4, width, 8, 8)], dtype, case, rtol32=1e-4)


def test_impossible_pair():
    head = OFD("a", "b")
    ours = as_outputs(("a",), [torch.zeros(2, 7, 3)])
    with pytest.raises(ValueError, match=r"'a' \(2, 7, 3\).*'b' \(2, 5, 2, 2\).*no square map"):
        head.bind(ours, as_outputs(("b",), [torch.zeros(2, 5, 2, 2)]))


def test_settings():
    with pytest.raises(ValueError, match="needs at least 1"):
        OFD((), ())
