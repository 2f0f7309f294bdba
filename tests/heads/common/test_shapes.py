import pytest
import torch

from potstill.heads.common.shapes import to_map, to_pooled


def test_tokens_become_a_square_map_row_by_row():
    tokens = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]]])  # (1, 4, 2)
    expected = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]]])
    assert torch.equal(to_map(tokens), expected)


def test_one_token_more_than_a_square_is_a_class_token_and_left_out():
    tokens = torch.arange(10.0).reshape(1, 10, 1)
    assert torch.equal(to_map(tokens), torch.arange(1.0, 10.0).reshape(1, 1, 3, 3))
    assert to_pooled(tokens).item() == 5.0


def test_maps_and_vectors_keep_their_values():
    feature = torch.randn(2, 3, 4, 5)
    assert to_map(feature) is feature
    vector = torch.randn(2, 3)
    assert to_pooled(vector) is vector
    assert torch.equal(to_map(vector), vector.reshape(2, 3, 1, 1))


def test_pooling_averages_over_positions():
    feature = torch.tensor([[[[1.0, 2.0, 6.0]], [[0.0, -3.0, 0.0]]]])  # (1, 2, 1, 3)
    assert torch.equal(to_pooled(feature), torch.tensor([[3.0, -1.0]]))


@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 12, 3)])
def test_tokens_that_form_no_square_are_named(shape):
    with pytest.raises(ValueError, match=f"{shape[1]} tokens"):
        to_map(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4, 4, 4)])
def test_other_dimensions_are_refused(shape):
    with pytest.raises(ValueError, match="2, 3 or 4 dimensions"):
        to_map(torch.zeros(shape))
