"""A head around a member of an ensemble gives what it gives with that teacher alone."""

import copy

import pytest
import torch
from omegaconf import OmegaConf

from potstill.config.instantiate import instantiate
from potstill.errors import ConfigError
from potstill.heads.at import AT
from potstill.heads.common.ensemble_member import EnsembleMember
from potstill.heads.common.schedules import Linear
from potstill.heads.crd import CRD
from potstill.heads.fitnet import FitNet
from potstill.heads.kd import KD
from potstill.heads.mlkd import MLKD
from potstill.heads.ofd import OFD
from potstill.heads.reviewkd import ReviewKD
from potstill.heads.simkd import SimKD
from potstill.heads.wkd_l import WKD_L
from potstill.models.features.extractor import FeatureExtractor
from potstill.models.features.outputs import ModelOutputs
from potstill.teacher.ensemble import TeacherEnsemble
from potstill.training.module import DistillationModule
from tests.support.tiny_nets import cnn, make_images, vit

HEADS = [
    KD,
    MLKD,
    WKD_L,
    AT,
    CRD,
    OFD,
    ReviewKD,
    SimKD,
    lambda **settings: FitNet(student="level2", teacher="level2", **settings),
]
TARGETS = torch.arange(8) % 5


def loss_with(head, student, teacher):
    """Return the loss of two views of a batch, and its gradient on the student."""
    torch.manual_seed(0)  # of the adapters
    shape = (3, 32, 32)
    ours, theirs = (
        FeatureExtractor(network, [pair[side] for pair in head.pairs], shape)
        for side, network in enumerate((student, teacher))
    )
    head.attach(student, teacher, TARGETS)
    head.bind(ours.probe(), theirs.probe())
    head.epoch = 1.5
    loss = head(two_views(ours), two_views(theirs), TARGETS[:4])
    parameters = [*student.parameters(), *(p for p in head.parameters() if p.requires_grad)]
    return loss, torch.autograd.grad(loss, parameters, allow_unused=True)


def two_views(extractor):
    ids = torch.arange(4)
    first, second = extractor(make_images(4), ids), extractor(make_images(4, seed=9), ids)
    return ModelOutputs(first.logits, first.features, ids, (second,))


@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize("place", [0, 2])
def test_a_member_is_a_teacher(make, place):
    teacher, student = cnn(6, 8, 12, seed=5), cnn()
    others = [cnn(seed=6), vit(seed=7)]
    others.insert(place, teacher)
    expected, wanted = loss_with(make(), copy.deepcopy(student), teacher)
    loss, found = loss_with(EnsembleMember(make(), place), student, TeacherEnsemble(others))
    assert loss.item() == expected.item() != 0
    assert [g is None for g in found] == [g is None for g in wanted]
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine is None or torch.equal(mine, theirs)


@pytest.mark.parametrize("make", HEADS)
def test_kind_weight_and_views_are_the_heads(make):
    for head in (make(), make(weight=Linear(1.0, 3.0, 4))):
        member = EnsembleMember(head, 1)
        assert (member.kind, member.num_views) == (head.kind, head.num_views)
        assert [member.weight_at(e) for e in (0, 2)] == [head.weight_at(e) for e in (0, 2)]


def test_schedules_inside_follow_the_epoch():
    ensemble, student = TeacherEnsemble([cnn(seed=5), cnn(seed=6)]), cnn()
    warm = EnsembleMember(KD(temperature=Linear(2.0, 4.0, 3)), 0)  # T = 3 at epoch 1.5
    expected, _ = loss_with(EnsembleMember(KD(temperature=3.0), 0), student, ensemble)
    assert loss_with(warm, student, ensemble)[0].item() == expected.item()


def test_exported_student_is_the_heads():
    teacher, student = cnn(seed=5), cnn()
    member = EnsembleMember(SimKD(), 0)
    loss_with(member, student, TeacherEnsemble([teacher]))
    member.eval()
    expected = teacher.fc(member.head.projector(student.layers(make_images(2))).mean((2, 3)))
    torch.testing.assert_close(member.export(student)(make_images(2)), expected)
    assert EnsembleMember(KD(), 0).export(student) is student


def test_two_members_in_one_run():
    """Two KD heads with half the weight each have the gradient of their average."""
    first, second, student = cnn(seed=5), cnn(seed=6), cnn()
    one, two = (KD()(*signals(student, teacher), TARGETS[:4]) for teacher in (first, second))
    heads = {f"kd{k}": EnsembleMember(KD(weight=0.5), k) for k in (0, 1)}
    module = DistillationModule(student, TeacherEnsemble([first, second]), heads)
    module.prepare()
    read = module._student_extractor(make_images(4)), module._teacher_extractor(make_images(4))
    losses = [head.weight_at(0) * head(*read, TARGETS[:4]) for head in heads.values()]
    torch.testing.assert_close(sum(losses), (one + two) / 2)


def signals(student, teacher):
    return ModelOutputs(student(make_images(4))), ModelOutputs(teacher(make_images(4)))


def test_from_a_config():
    text = """
      _target_: potstill.heads.common.ensemble_member.EnsembleMember
      member: 1
      head: {_target_: potstill.heads.at.AT, student: level-1, teacher: "level-1:preact"}
    """
    member = instantiate(OmegaConf.create(text))
    assert isinstance(member.head, AT)
    assert member.pairs == (("", "members.1"), ("level-1", "members.1.level-1:preact"))


def test_there_is_no_such_member():
    with pytest.raises(ValueError, match="-1"):
        EnsembleMember(KD(), -1)
    ensemble = TeacherEnsemble([cnn(), cnn()])
    module = DistillationModule(cnn(), ensemble, {"kd": EnsembleMember(KD(), 2)})
    with pytest.raises(ConfigError, match=r"members\.2: no such layer.*members\.1"):
        module.prepare()
    module = DistillationModule(cnn(), cnn(), {"kd": EnsembleMember(KD(), 0)})
    with pytest.raises(ConfigError, match=r"members\.0: no such layer"):
        module.prepare()
