import pytest
import torch

from potstill.heads.pooled_mse import PooledMSE
from tests.support.feature_cases import bound, golden, loss_of, signals
from tests.support.response_inputs import PS, PT


def test_official_value():
    head = bound(PooledMSE(), [PS], [PT])
    assert loss_of(head, [PS], [PT]).item() == pytest.approx(golden("pooled_mse"), rel=1e-9)


def test_features_of_one_size_need_no_layer():
    head, ours, theirs = PooledMSE(), torch.randn(3, 4, 2, 2), torch.randn(3, 4)
    head.bind(*signals(head, [ours], [theirs]))
    assert not list(head.parameters())
    expected = (ours.mean((2, 3)) - theirs).square().mean()
    torch.testing.assert_close(loss_of(head, [ours], [theirs]), expected)
