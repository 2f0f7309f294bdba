"""Every head, with every kind of pair: trained, stopped, resumed, exported."""

import logging
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.teacher.frozen import sha256_of
from tests.support.head_pairs import HEADS, PAIRS, STEPS, fit, make_head, make_module

SETTINGS = {
    # A ViT classifies its class token: no average of its last layer gives its logits.
    ("simkd", "vit-cnn"): {"teacher": "pooled"},
    ("srrl", "vit-cnn"): {"teacher": "pooled"},
}
DEPLOYED = {"simkd": {"projector", "classifier"}}  # what belongs to the exported student


class SaveAt(pl.Callback):
    """Save inside an epoch, as an interrupted run does."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


@pytest.fixture(scope="module")
def alone():
    """The students after training on the task only."""
    modules = {pair: make_module(pair, None) for pair in PAIRS}
    for module in modules.values():
        fit(module, STEPS)
    return {pair: dict(module.student.named_parameters()) for pair, module in modules.items()}


@pytest.fixture(
    scope="module", params=[(name, pair) for name in HEADS for pair in PAIRS], ids="-".join
)
def case(request, tmp_path_factory):
    """Three steps in one go; and in another module the third, from a checkpoint of two."""
    name, pair = request.param

    def make(seed):
        head = make_head(name, **SETTINGS.get((name, pair), {}))
        return make_module(pair, {name: head}, seed), head.num_views

    (straight, views), (resumed, _) = make(0), make(2)
    before = sha256_of(straight.teacher.network)
    path = tmp_path_factory.mktemp("resume") / "last.ckpt"
    trainer = fit(straight, STEPS, views, callbacks=[SaveAt(STEPS - 1, path)])
    fit(resumed, STEPS, views, seed=3, ckpt_path=str(path))
    return SimpleNamespace(
        name=name,
        pair=pair,
        module=straight,
        resumed=resumed,
        optimizer=trainer.optimizers[0],
        teacher_before=before,
        checkpoint=torch.load(path, weights_only=True),
    )


def test_head_moves_the_student(case, alone):
    before = dict(PAIRS[case.pair][1](0).named_parameters())
    moved = pulled = False
    for name, parameter in case.module.student.named_parameters():
        assert parameter.isfinite().all(), name
        moved |= not torch.equal(parameter, before[name])
        pulled |= not torch.equal(parameter, alone[case.pair][name])
    assert moved
    assert pulled, "the same as without the head"


def test_every_adapter_is_trained(case):
    head = case.module.heads[case.name]
    for name, parameter in head.named_parameters():
        has_momentum = "momentum_buffer" in case.optimizer.state.get(parameter, {})
        assert has_momentum == parameter.requires_grad, name


def test_teacher_is_untouched(case):
    assert sha256_of(case.module.teacher.network) == case.teacher_before
    assert sha256_of(case.resumed.teacher.network) == case.teacher_before


def test_resumed_run_ends_with_the_same_bits(case):
    expected, found = case.module.state_dict(), case.resumed.state_dict()
    assert expected.keys() == found.keys()
    different = [key for key in expected if not torch.equal(expected[key], found[key])]
    assert not different


def test_checkpoint_holds_student_and_adapters_only(case):
    state = case.checkpoint["state_dict"]
    assert state.keys() == case.module.state_dict().keys()
    assert {key.split(".")[0] for key in state} <= {"student", "heads"}
    adapters = {f"heads.{case.name}.{key}" for key in case.module.heads[case.name].state_dict()}
    assert adapters == {key for key in state if key.startswith("heads.")}


def test_export_has_no_adapters(case):
    state = case.module.export_student().state_dict()
    own = case.module.student.state_dict()
    if case.name in DEPLOYED:
        assert {key.split(".")[0] for key in state} == {"body"} | DEPLOYED[case.name]
        state = {k.removeprefix("body."): v for k, v in state.items() if k.startswith("body.")}
    assert state.keys() == own.keys()
    assert all(torch.equal(state[key], own[key]) for key in own)


@pytest.mark.parametrize("name", HEADS)
def test_half_precision_gives_nearly_the_same_student(name):
    """Autocast rounds the networks' activations; the losses themselves stay in float32."""
    students = []
    for precision in ("32-true", "bf16-mixed"):
        head = make_head(name)
        module = make_module("cnn-cnn", {name: head})
        fit(module, 1, head.num_views, precision=precision)
        students.append(nn.utils.parameters_to_vector(module.student.parameters()))
    start = nn.utils.parameters_to_vector(PAIRS["cnn-cnn"][1](0).parameters())
    exact, rounded = (student.detach() - start.detach() for student in students)
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.9


def test_reused_classifier_of_a_transformer_is_refused():
    module = make_module("vit-cnn", {"simkd": make_head("simkd")})
    with pytest.raises(ValueError, match=r"level-1.*Fix: teacher=pooled"):
        fit(module, 1)


@pytest.mark.parametrize("name", [name for name in HEADS if make_head(name).num_views > 1])
def test_one_view_is_too_few(name):
    with pytest.raises(ConfigError, match=rf"{name} needs 2 views.*data.views=2"):
        fit(make_module("cnn-cnn", {name: make_head(name)}), 1)


def test_labels_are_needed_by_contrast_alone(tiny, batches, loader, trainer):
    needing = []
    for name in HEADS:
        head = make_head(name)
        module = make_module("cnn-cnn", {name: head})
        pairs = [
            ((image,) * head.num_views if head.num_views > 1 else image, t, i)
            for image, t, i in batches
        ]
        try:
            trainer(limit_train_batches=1).fit(module, loader(pairs))
        except ConfigError as error:
            needing.append(str(error))
    assert len(needing) == 1
    assert needing[0].startswith("module.heads.crd: CRD draws negatives of other classes")
