import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances

from potstill.heads.rkd import RKD, potentials, rkd_loss
from potstill.models.features.outputs import ModelOutputs
from tests.support.response_inputs import PS, PT, check_feature_gradient, golden, signal, t, value


@pytest.mark.parametrize(
    ("head", "name"),
    [(RKD(), "rkd_25_50"), (RKD(1, 0), "rkd_dist"), (RKD(0, 1), "rkd_angle")],
)
def test_official_value(head, name):
    assert value(head) == pytest.approx(golden(name), rel=1e-9)


def test_gradient():
    check_feature_gradient(RKD())


def test_distances_are_scikit_learns():
    expected = pairwise_distances(PS.numpy())
    expected /= expected[expected > 0].mean()
    assert potentials(PS)[0].numpy() == pytest.approx(expected, rel=1e-12)


def test_angles_by_hand():
    cosine = potentials(PS)[1].numpy()
    for i, j, k in [(0, 1, 2), (3, 3, 5), (7, 0, 4), (2, 6, 6)]:
        a, b = (PS[j] - PS[i]).numpy(), (PS[k] - PS[i]).numpy()
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        assert cosine[i, j, k] == pytest.approx(a @ b / norms if norms else 0.0, abs=1e-12)


def test_near_pairs_keep_their_digits():
    near = torch.cat([t((1, 16), 0.23, 0.3) + 100, t((1, 16), 0.23, 0.3) + 100.01, PS[:2] + 100])
    exact = potentials(near.float().double())[0]
    assert potentials(near.float())[0].double() == pytest.approx(exact, rel=1e-5)


def test_duplicates_of_the_student_alone_bound_the_gradient():
    student = PS.float().clone()
    student[1] = student[0]
    student.requires_grad_()
    rkd_loss(student, PT.float(), 25, 50).backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100


def test_maps_are_pooled_and_layers_are_summed():
    head = RKD(student=["a", "b"], teacher=["c", "c"])
    maps = {"a": PS[:, :, None, None].expand(-1, -1, 3, 3), "b": 2 * PS}
    loss = head(ModelOutputs(PS, maps), ModelOutputs(PT, {"c": PT}), torch.zeros(8))
    assert loss.item() == pytest.approx(2 * golden("rkd_25_50"), rel=1e-9)


def test_default_layer_is_the_classifiers_input():
    assert RKD().pairs == (("pooled", "pooled"),)
    assert signal(PS, PS).features.keys() == {"pooled"}
