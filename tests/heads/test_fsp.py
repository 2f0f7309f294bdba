import pytest
import torch

from potstill.heads.fsp import FSP, fsp_loss, fsp_matrix
from tests.support.feature_cases import (
    bound,
    golden,
    loss_of,
    t,
    two_maps,
)


def _two() -> FSP:
    return FSP(["a", "b"], ["c", "d"])


def test_official_value():
    students, teachers = two_maps()
    head = bound(_two(), students, teachers)
    assert not list(head.parameters())
    assert loss_of(head, students, teachers).item() == pytest.approx(golden("fsp"), rel=1e-9)


def test_matrix_in_plain_loops():
    lower, upper = t((1, 2, 1, 3), 0.9, 0.2), t((1, 3, 1, 3), 0.7, 0.3)
    for i, row in enumerate(fsp_matrix(lower, upper)[0].tolist()):
        first = lower[0, i, 0].tolist()
        expected = [
            sum(a * b for a, b in zip(first, second, strict=True)) / 3
            for second in upper[0, :, 0].tolist()
        ]
        assert row == pytest.approx(expected, rel=1e-12)


def test_neighbours_are_summed():
    students = [t((2, 3, n, n), 0.3, 0.1 * n) for n in (8, 4, 2)]
    teachers = [t((2, 3, n, n), 0.4, 0.2 * n) for n in (4, 4, 2)]
    head = bound(FSP(), students, teachers)
    expected = sum(
        fsp_loss((students[i], students[i + 1]), (teachers[i], teachers[i + 1])).item()
        for i in (0, 1)
    )
    assert loss_of(head, students, teachers).item() == pytest.approx(expected, rel=1e-12)


def test_other_widths_are_projected_and_trained():
    students, teachers = two_maps()
    students[1] = t((8, 5, 4, 4), 0.4, 0.2)
    head = bound(_two(), students, teachers)
    assert list(head.state_dict()) == ["adapters.1.weight"]
    projected = torch.einsum("kc,nchw->nkhw", head.adapters[1].weight[:, :, 0, 0], students[1])
    expected = fsp_loss((students[0], projected), (teachers[0], teachers[1]))
    loss = loss_of(head, students, teachers)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    loss.backward()
    assert head.adapters[1].weight.grad.abs().max() > 0


def test_one_layer_has_no_flow():
    with pytest.raises(ValueError, match=r"FSP needs at least 2 layer\(s\)"):
        FSP("level-1", "level-1")
