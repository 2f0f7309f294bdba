import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics.pairwise import cosine_similarity

from potstill.heads.pkt import PKT, pkt_loss
from tests.support.response_inputs import PS, PT, check_feature_gradient, golden, value


def test_official_value():
    assert value(PKT()) == pytest.approx(golden("pkt"), rel=1e-9)
    assert PKT().weight_at(0) == 30000


def test_gradient():
    check_feature_gradient(PKT())


def test_value_by_scikit_learn_and_scipy():
    p, q = ((cosine_similarity(f.numpy()) + 1) / 2 for f in (PS, PT))
    expected = np.mean(entropy(q, p, axis=1)) / len(PS)
    assert pkt_loss(PS, PT).item() == pytest.approx(expected, rel=1e-4)


def test_scale_changes_nothing():
    assert pkt_loss(50 * PS, PT).item() == pytest.approx(pkt_loss(PS, PT).item(), rel=1e-5)
