import copy

import pytest
import torch
import torch.nn.functional as F

from potstill.heads.at import AT
from potstill.heads.common.adapters import BatchNorm, ConvReg, match_size, unit
from potstill.heads.fitnet import FitNet
from tests.support.feature_cases import bound, signals, t

SHAPES = {
    "half": ((6, 8, 8), (12, 4, 4), (12, 6, 3, 3)),
    "double": ((6, 4, 4), (12, 8, 8), (6, 12, 4, 4)),
    "same": ((6, 4, 4), (12, 4, 4), (12, 6, 1, 1)),
    "larger": ((6, 7, 7), (12, 5, 4), (12, 6, 3, 4)),
    "smaller": ((6, 3, 3), (12, 7, 7), (12, 6, 1, 1)),
    "pooled": ((6, 1, 1), (12, 1, 1), (12, 6, 1, 1)),
    "wide": ((6, 3, 8), (12, 7, 4), (12, 6, 1, 1)),
}


@pytest.mark.parametrize(("student", "teacher", "kernel"), SHAPES.values(), ids=SHAPES)
def test_regressor_has_the_official_kernels_and_the_teachers_shape(student, teacher, kernel):
    regressor = ConvReg(student, teacher)
    weights = [p for p in regressor.conv.parameters() if p.dim() == 4]
    assert [tuple(w.shape) for w in weights] == [kernel]
    assert regressor(torch.randn(2, *student)).shape == (2, *teacher)


def test_smaller_student_is_resized_between_its_corners_then_projected():
    regressor = ConvReg((1, 2, 2), (1, 6, 6))
    conv = regressor.conv[1]
    torch.nn.init.constant_(conv.weight, 2.0)
    torch.nn.init.constant_(conv.bias, 1.0)
    got = regressor.conv(torch.tensor([[[[0.0, 6.0], [0.0, 6.0]]]]))
    # Bilinear without aligned corners: positions -1/3, 0, 1/3, 2/3, 1, 4/3 of the step, clamped.
    row = torch.tensor([0.0, 0.0, 2.0, 4.0, 6.0, 6.0]) * 2 + 1
    torch.testing.assert_close(got, row.expand(1, 1, 6, 6))


def test_relu_ends_the_regressor_only_where_asked():
    feature = torch.randn(4, 3, 4, 4)
    linear = ConvReg((3, 4, 4), (5, 4, 4), relu=False)
    rectified = ConvReg((3, 4, 4), (5, 4, 4), relu=True)
    rectified.load_state_dict(linear.state_dict())
    out = linear(feature)
    assert out.min() < 0
    assert torch.equal(rectified(feature), out.clamp_min(0))


def test_batch_norm_is_pytorchs_wherever_that_works():
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm2d(3)
    feature = torch.randn(4, 3, 2, 2)
    assert torch.equal(ours(feature), theirs(feature))
    assert torch.equal(ours.running_var, theirs.running_var)
    assert torch.equal(ours.eval()(feature), theirs.eval()(feature))


def test_batch_norm_takes_one_value_by_its_running_statistics():
    norm = BatchNorm(2)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    norm.running_var.copy_(torch.tensor([4.0, 9.0]))
    before = copy.deepcopy(norm.state_dict())
    feature = torch.tensor([3.0, -4.0]).reshape(1, 2, 1, 1)
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        torch.nn.BatchNorm2d(2)(feature)
    torch.testing.assert_close(
        norm(feature).flatten(), torch.tensor([1.0, -2.0]), rtol=1e-5, atol=0
    )
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((8, 8), (4, 4)), ((4, 4), (8, 8)), ((9, 6), (4, 4)), ((6, 4), (4, 8)), ((5, 5), (5, 5))],
)
def test_larger_map_is_averaged_down_as_adaptive_pooling_does(student, teacher):
    ours, theirs = t((2, 3, *student), 0.3, 0.1), t((2, 5, *teacher), 0.4, 0.2)
    size = tuple(map(min, student, teacher))
    got = match_size(ours, theirs)
    torch.testing.assert_close(got[0], F.adaptive_avg_pool2d(ours, size))
    torch.testing.assert_close(got[1], F.adaptive_avg_pool2d(theirs, size))


def test_unit_is_pytorchs_normalize_away_from_zero():
    feature = t((4, 5), 0.7, 0.1, 30.0)
    torch.testing.assert_close(unit(feature), F.normalize(feature), rtol=1e-14, atol=0)
    torch.testing.assert_close(unit(feature, 0), F.normalize(feature, dim=0), rtol=1e-14, atol=0)


def test_unit_of_zero_is_zero_with_a_zero_gradient():
    feature = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    out = unit(feature)
    assert torch.equal(out.detach(), torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    out[:, 0].sum().backward()
    # d(x/|x|)/dx = (1 - u u^T) / |x|
    torch.testing.assert_close(feature.grad, torch.tensor([[0.0, 0.0], [0.64 / 5, -0.48 / 5]]))


def _features(width: int = 3) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [torch.randn(2, width, 8, 8)], [torch.randn(2, 5, 4, 4)]


def test_binding_again_with_equal_shapes_changes_nothing():
    head = bound(FitNet(), *_features())
    adapter, before = head.adapters[0], copy.deepcopy(head.state_dict())
    head.bind(*signals(head, *_features()))
    assert head.adapters[0] is adapter
    assert all(torch.equal(before[key], value) for key, value in head.state_dict().items())


def test_binding_to_a_narrower_student_builds_afresh_under_the_same_keys():
    head = bound(FitNet(), *_features())
    keys = list(head.state_dict())
    head.bind(*signals(head, *_features(width=2)))
    assert list(head.state_dict()) == keys
    assert head.adapters[0].conv.weight.shape[1] == 2


def test_a_bound_heads_weights_load_into_another_bound_head():
    head, other = bound(FitNet(), *_features()), FitNet()
    other.bind(*signals(other, *_features()))
    other.load_state_dict(head.state_dict(), strict=True)
    assert torch.equal(other.adapters[0].conv.weight, head.adapters[0].conv.weight)


@pytest.mark.parametrize("head", [FitNet("a", "b"), AT("a", "b")])
def test_an_impossible_pair_names_layers_and_shapes(head):
    students, teachers = [torch.zeros(2, 3, 8, 8)], [torch.zeros(2, 7, 5)]
    with pytest.raises(ValueError, match=r"'a' \(2, 3, 8, 8\).*'b' \(2, 7, 5\).*7 tokens"):
        head.bind(*signals(head, students, teachers))


def test_a_head_of_no_layers_is_refused():
    with pytest.raises(ValueError, match="FitNet needs at least 1 layer"):
        FitNet([], [])
