import pytest
import torch

from potstill.heads.vkd import VkD
from tests.support.feature_cases import golden, loss_of, signals, t
from tests.support.response_inputs import PS, PT


def projected(width, wanted, dtype=torch.float32):
    head = VkD()
    head.bind(*signals(head, [torch.zeros(2, width)], [torch.zeros(2, wanted)]))
    return head.to(dtype)


def test_official_value():
    head = projected(16, 24, torch.float64)
    head.adapters[0].weight = torch.linalg.qr(t((24, 16), 0.7, 0.0))[0]
    assert loss_of(head, [PS], [PT]).item() == pytest.approx(golden("vkd"), rel=1e-9)


@pytest.mark.parametrize(("width", "wanted"), [(4, 6), (6, 4), (5, 5)])
def test_projection_stays_orthogonal_while_it_is_trained(width, wanted):
    head = projected(width, wanted)
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    before = head.adapters[0].weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(head, [torch.randn(8, width)], [torch.randn(8, wanted)]).backward()
        optimizer.step()
    matrix = head.adapters[0].weight.detach()
    gram = matrix.T @ matrix if width < wanted else matrix @ matrix.T
    torch.testing.assert_close(gram, torch.eye(min(width, wanted)), rtol=0, atol=1e-5)
    assert not torch.allclose(matrix, before)
