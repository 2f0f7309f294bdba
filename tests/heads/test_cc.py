import pytest
import torch

from potstill.errors import ConfigError
from potstill.heads.cc import CC
from tests.support.response_inputs import PS, ZS, ZT, Y, check_feature_gradient, golden, signal, t

EMBEDDED = signal(ZT, t((8, 16), 0.29, 0.4))
WIDER = signal(ZT, t((8, 24), 0.29, 0.4))


def test_official_value():
    head = CC(embed_dim=None)
    head.bind(signal(ZS, PS), EMBEDDED)
    loss = head(signal(ZS, PS), EMBEDDED, Y)
    assert loss.item() == pytest.approx(golden("cc"), rel=1e-9)
    assert head.weight_at(0) == 0.02


def test_gradient():
    check_feature_gradient(CC(embed_dim=None), EMBEDDED)


def bound() -> CC:
    torch.manual_seed(0)
    head = CC()
    head.bind(signal(ZS, PS), WIDER)
    return head.double()


def test_embedding_by_hand():
    head = bound()
    (ours, theirs), student, teacher = head.embed[0], PS.tolist(), WIDER.features["pooled"].tolist()
    assert (ours.in_features, theirs.in_features, ours.out_features) == (16, 24, 128)
    deltas = []
    for a, b in zip(student, teacher, strict=True):
        left = ours.weight.double() @ torch.tensor(a).double() + ours.bias
        right = theirs.weight.double() @ torch.tensor(b).double() + theirs.bias
        deltas.append((left - right).abs())
    products = [(deltas[i] * deltas[i + 1]).sum().item() for i in range(7)]
    loss = head(signal(ZS, PS), WIDER, Y)
    assert loss.item() == pytest.approx(sum(products) / 7, rel=1e-6)


def test_embeddings_are_trained():
    head = bound()
    head(signal(ZS, PS), WIDER, Y).backward()
    assert len(list(head.parameters())) == 4
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_unequal_features_without_embedding():
    with pytest.raises(ConfigError, match="16 and 24"):
        CC(embed_dim=None).bind(signal(ZS, PS), WIDER)
