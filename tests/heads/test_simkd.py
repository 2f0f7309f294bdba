import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from potstill.heads.common.reused_classifier import ReusedClassifier
from potstill.heads.simkd import SimKD
from tests.support.feature_cases import (
    CASES,
    DTYPES,
    check_numerics,
    fill,
    fill_head,
    golden,
    golden_maps,
    loss_of,
)
from tests.support.tiny_nets import as_outputs, bind, check_networks, cnn, make_images, vit


def flat(width: int, stride: int, num_classes: int = 10) -> nn.Module:
    """A map of `width` channels, a stride smaller than the image, and a classifier."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, width, stride, stride), nn.ReLU())
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, pool, nn.Linear(width, num_classes)).eval()


def official() -> tuple[SimKD, nn.Module]:
    """A head bound to the shapes of the golden maps, its adapters filled, in float64."""
    head, student = SimKD(), flat(6, 1)
    bind(head, student, flat(12, 2), side=8)
    fill_head(head.double().projector)
    fill(list(head.classifier.parameters()))
    return head, student


def test_official_values():
    head, student = official()
    fs, ft = golden_maps()
    assert loss_of(head, [fs], [ft]).item() == pytest.approx(golden("simkd_mse"), rel=1e-9)
    deployed = head.export(student)
    body = nn.Sequential(nn.Identity())
    whole = ReusedClassifier(
        body, "0", "output", deployed.resize, head.projector, head.classifier
    ).train()
    logits = whole(fs)
    assert logits.square().mean().item() == pytest.approx(golden("simkd_pred_sq"), rel=1e-9)
    assert head.weight_at(0) == 1


def test_student_is_smaller_than_the_teacher():
    head = SimKD()
    bind(head, cnn(), cnn(6, 8, seed=1))  # 4x4 and 8x8
    fs, ft = torch.randn(2, 10, 4, 4), torch.randn(2, 8, 8, 8)
    pooled = ft.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    expected = (head.projector(fs) - pooled).square().mean()
    torch.testing.assert_close(loss_of(head, [fs], [ft]), expected)


def test_gradient():
    head, _ = official()
    head.eval()
    fs, ft = golden_maps()
    fs = (fs[:1] + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss_of(head, [x], [ft[:1]]), fs, fast_mode=True)


@pytest.mark.parametrize("student", [cnn, vit])
@pytest.mark.parametrize("teacher", [cnn, vit])
def test_deployed_student_by_hand(student, teacher):
    student, teacher = student(), teacher(seed=1)
    head = SimKD(teacher="level-1" if hasattr(teacher, "fc") else "pooled")
    ours, _ = bind(head, student, teacher)
    deployed, images = head.eval().export(student), make_images(3)
    feature = ours(images).features["level-1"]
    if feature.dim() == 3:
        feature = feature[:, 1:].transpose(1, 2).unflatten(2, (8, 8))
    if teacher.__class__.__name__ == "ViT":
        feature = feature.mean((2, 3), keepdim=True)
        linear = teacher.head
    else:
        linear = teacher.fc
        side = feature.shape[-1] // 4
        feature = feature.unflatten(2, (4, side)).unflatten(4, (4, side)).mean((3, 5))
    expected = linear(head.projector(feature).mean((2, 3)))
    torch.testing.assert_close(deployed(images), expected)


def test_teachers_logits_come_back_from_its_own_map():
    """A perfect projection gives the teacher's own logits: pooling and classifier are its own."""
    teacher = cnn(seed=1)
    head = SimKD()
    _, theirs = bind(head, cnn(), teacher)
    signal = theirs(make_images(3))
    pooled = signal.features["level-1"].mean((2, 3))
    torch.testing.assert_close(head.classifier(pooled), signal.logits)


def test_classifier_is_a_frozen_copy():
    student, teacher, head = cnn(), cnn(seed=1), SimKD()
    bind(head, student, teacher)
    assert not any(p.requires_grad for p in head.classifier.parameters())
    assert head.classifier.weight.data_ptr() != teacher.fc.weight.data_ptr()
    assert torch.equal(head.classifier.weight, teacher.fc.weight)
    assert {"classifier.weight", "classifier.bias"} < set(head.state_dict())
    assert not any(module is teacher or module is student for module in head.modules())


def test_deployed_shares_what_is_trained():
    student, head = cnn(), SimKD()
    ours, theirs = bind(head, student, cnn(seed=1))
    deployed, images = head.export(student), make_images(4)
    before = deployed(images)
    trained = [p for p in [*student.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    head(ours(images), theirs(images), torch.zeros(4)).backward()
    optimizer.step()
    assert not torch.allclose(deployed(images), before)
    assert not deployed.training


def test_deployed_is_an_ordinary_module(tmp_path):
    student, head = cnn(), SimKD()
    bind(head.eval(), student, cnn(6, 8, 12, seed=1))
    deployed, images = head.export(student).eval(), make_images(2)
    logits = deployed(images)
    copied = copy.deepcopy(deployed)
    with torch.no_grad():
        student.layers[0][0].weight.zero_()
    assert torch.equal(copied(images), logits)
    assert not torch.equal(deployed(images), logits)
    save_file({k: v.clone() for k, v in copied.state_dict().items()}, tmp_path / "net.safetensors")
    deployed.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert torch.equal(deployed(images), logits)


def test_deployed_can_be_traced():
    head, student = SimKD(), cnn()
    bind(head.eval(), student, cnn(6, 8, 12, seed=1))
    deployed, images = head.export(student).eval(), make_images(2)
    logits = deployed(images)
    torch.testing.assert_close(torch.fx.symbolic_trace(deployed)(images), logits)
    exported = torch.export.export(deployed, (images,))
    torch.testing.assert_close(exported.module()(images), logits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_numerics(dtype, case):
    head = SimKD()
    bind(head, flat(6, 1), flat(12, 2), side=8)
    check_numerics(head, [(4, 6, 8, 8)], [(4, 12, 4, 4)], dtype, case, rtol32=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_value_a_channel(dtype):
    head = SimKD("pooled", "pooled")
    bind(head, cnn(), vit())
    head.train()
    feature = (8 * torch.randn(1, 10)).to(dtype).requires_grad_()
    loss = loss_of(head, [feature], [torch.randn(1, 12).to(dtype)])
    (grad,) = torch.autograd.grad(loss, feature)
    assert loss.isfinite()
    assert grad.isfinite().all()
    assert head.projector.training
    assert head.projector[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("student", "teacher", "layer"),
    [(cnn, vit, "pooled"), (vit, cnn, "level-1"), (cnn, cnn, "level-1")],
)
def test_networks(student, teacher, layer):
    student, teacher, head = student(), teacher(seed=1), SimKD(teacher=layer)
    bind(head, student, teacher)
    head.classifier.weight.data.zero_()  # takes no part in the loss
    check_networks(head, student, teacher)


def test_classifier_after_more_than_pooling():
    with pytest.raises(ValueError, match=r"pooled layer 'level-1' \(2, 65, 12\)\. Fix: teacher=po"):
        bind(SimKD(), cnn(), vit())
    with pytest.raises(ValueError, match=r"'level-2' \(2, 8, 8, 8\)\. Fix: teacher=pooled"):
        bind(SimKD(teacher="level-2"), cnn(), cnn(seed=1))


def test_impossible_pair():
    head = SimKD("a", "b")
    ours = as_outputs(("a",), [torch.zeros(2, 7, 3)])
    with pytest.raises(ValueError, match=r"'a' \(2, 7, 3\).*'b' \(2, 5, 2, 2\).*no square map"):
        head.bind(ours, as_outputs(("b",), [torch.zeros(2, 5, 2, 2)]))


def test_settings():
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        SimKD(factor=0)
    with pytest.raises(ValueError, match="one student and one teacher"):
        SimKD(("a", "b"), ("c", "d"))
