"""What a config may call where, and what it may not."""

import pytest

from potstill.config.allow_list import permit
from potstill.config.kinds import ANYTHING, KINDS
from potstill.errors import ConfigError

PERMITTED = {
    "head": ["potstill.heads.kd.KD", "potstill.heads.common.ensemble_member.EnsembleMember"],
    "model": [
        "potstill.models.cifar_resnet.cifar_resnet",
        "potstill.models.timm.timm_model",
        "potstill.artifact.file.load_network",
        "potstill.teacher.ensemble.TeacherEnsemble",
        "torch.nn.Identity",
        "torchvision.models.resnet18",
    ],
    "optimizer": ["torch.optim.AdamW", "torch.optim.sgd.SGD"],
    "scheduler": ["potstill.training.schedules.cosine", "torch.optim.lr_scheduler.OneCycleLR"],
    "schedule": ["potstill.heads.common.schedules.Halve"],
    "data": ["potstill.data.digits.Digits", "potstill.data.imagenet_shards.ImageNetShards"],
    "callback": [
        "potstill.training.callbacks.checkpoint.Checkpoint",
        "lightning.pytorch.callbacks.EarlyStopping",
    ],
    "criterion": ["potstill.pruning.channels.criteria.taylor.Taylor"],
    "stage": [
        "potstill.pipeline.stages.ptq.StaticQuantization",
        "potstill.pipeline.stages.qat.QuantizationAwareTraining",
    ],
    "exporter": ["potstill.export.onnx.Onnx", "potstill.export.bundle.Bundle"],
    "logger": [
        "potstill.training.loggers.wandb.wandb_logger",
        "lightning.pytorch.loggers.WandbLogger",
    ],
    "trainer": ["lightning.pytorch.Trainer"],
    "part": ["torch.nn.KLDivLoss", "torchvision.transforms.v2.Resize"],
}
# Tried at every kind of place.
REFUSED = [
    "os.system",
    "builtins.eval",
    "builtins.open",
    "subprocess.Popen",
    "pickle.load",
    "shutil.rmtree",
    "pathlib.Path.touch",
    "runpy.run_path",
    "torch.load",
    "torch.hub.load",
    "torch.utils.cpp_extension.load",
    "torchvisionx.models.resnet18",
    "hydra.utils.instantiate",
    "torch.nn.modules.module.torch.load",  # through a module's own import
    "potstill.atomic.os.system",
    "potstill.config.options.Path",
    "potstill.config.validate.DictConfig",  # a class, but of another package
    "potstill.config.instantiate.instantiate",
    "potstill.config.plugins.use",
    "potstill.distributed.launcher.start",
    "potstill.report.command.main",
    "potstill.benchmark.command.main",
    "potstill.atomic.write_atomically",
    "potstill.artifact.file.save_artifact",
    "potstill.artifact.file.load_artifact",
    "potstill.models.weights.read_state",
    "potstill.models.weights.load_weights",
    "potstill.training.loggers.wandb.finish",
    "potstill.models.build.finish",
    "potstill.models.copies.copy_network",
    "potstill.models.timm._create",
    "potstill.models.torchvision._construct",
    "potstill.heads.index.main",
    "potstill.data.storage.write_shards.main",
    "potstill.export.bundled.classify.main",
    "potstill.export.runtimes.executorch.ExecuTorch",
    "potstill.training.module.DistillationModule.load_from_checkpoint",  # unpickles
    "torchvision.io.write_file",
    "torchvision.datasets.utils.download_url",
    "torchvision.models.list_models",
    "lightning.pytorch.seed_everything",
    "timm.create_model",  # potstill.models.timm calls it, without files to load
    "timm.models.load_checkpoint",
]


@pytest.mark.parametrize(("kind", "target"), [(k, t) for k, ts in PERMITTED.items() for t in ts])
def test_what_runs_need_is_permitted(kind, target):
    assert permit(target, "node", KINDS[kind]) is permit(target, "node", ANYTHING)


@pytest.mark.parametrize("target", REFUSED)
def test_what_could_do_harm_is_refused_wherever_it_stands(target):
    for kind in (*KINDS.values(), ANYTHING, None):
        with pytest.raises(ConfigError, match=r"^node\._target_="):
            permit(target, "node", kind)


@pytest.mark.parametrize("kind", PERMITTED)
def test_each_place_takes_its_own_kind_alone(kind):
    others = [
        t for name, targets in PERMITTED.items() if name not in (kind, "part") for t in targets
    ]
    taken = [target for target in others if _is_permitted(target, kind)]
    allowed = {
        "part": ["torch.nn.Identity", "potstill.heads.common.schedules.Halve"],
        "callback": PERMITTED["stage"],  # refused by validation, with the place it belongs to
    }
    assert taken == allowed.get(kind, [])


def _is_permitted(target, kind):
    try:
        permit(target, "node", KINDS[kind])
    except ConfigError:
        return False
    return True


def test_a_misspelt_target_gets_the_nearest_names_beside_it():
    with pytest.raises(ConfigError, match=r"Fix: in potstill\.heads\.kd: KD"):
        permit("potstill.heads.kd.KDD", "node", KINDS["head"])
    with pytest.raises(ConfigError, match=r"Fix: in potstill\.heads: .*\bdkd\b"):
        permit("potstill.heads.dkdd.DKD", "node", KINDS["head"])


def test_a_class_of_another_kind_is_told_what_it_lacks():
    with pytest.raises(ConfigError, match=r"is no head\. Fix: a class derived from .*\.Head$"):
        permit("potstill.heads.common.schedules.Halve", "node", KINDS["head"])
    with pytest.raises(ConfigError, match=r"here\. Fix: potstill\.heads, a plugin's"):
        permit("torch.nn.Linear", "node", KINDS["head"])
