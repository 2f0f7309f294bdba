import pytest
import torch

from potstill.heads.ickd import ICKD, channel_correlation, correlation_loss
from tests.support.feature_cases import bound, golden, golden_maps, loss_of


def test_official_value():
    fs, ft = golden_maps()
    head = bound(ICKD(), [fs], [ft])
    assert loss_of(head, [fs], [ft]).item() == pytest.approx(golden("ickd"), rel=1e-9)
    assert head.weight_at(0) == 500


def test_correlation_by_hand():
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]], [[0.0, 0.0]]]])  # a dead channel among them
    rows = torch.tensor([[5.0, 1.0, 0.0], [1.0, 10.0, 0.0]])
    expected = torch.zeros(1, 3, 3)
    expected[0, :2] = rows / rows.norm(dim=1, keepdim=True)
    torch.testing.assert_close(channel_correlation(maps), expected)


def test_maps_of_another_size_are_compared_by_channels_alone():
    maps = torch.randn(2, 3, 4, 4)
    spread = maps.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert correlation_loss(spread, maps).item() == pytest.approx(0, abs=1e-12)
