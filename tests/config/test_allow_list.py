"""What a config may call, and what it may not."""

import pytest

from potstill.config.allow_list import permit
from potstill.errors import ConfigError


@pytest.mark.parametrize(
    "target",
    [
        "potstill.heads.kd.KD",
        "torch.optim.AdamW",
        "torch.nn.Identity",
        "torchvision.models.resnet18",
        "torchvision.datasets.CIFAR10",
        "timm.create_model",
        "lightning.pytorch.Trainer",
        "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.loggers.WandbLogger",
    ],
)
def test_what_runs_need_is_permitted(target):
    permit(target, "node")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "builtins.open",
        "subprocess.Popen",
        "pickle.load",
        "shutil.rmtree",
        "pathlib.Path.touch",
        "torch.load",
        "torch.hub.load",
        "torchvisionx.models.resnet18",
        "hydra.utils.instantiate",
        "torch.nn.modules.module.torch.load",  # through a module's own import
        "potstill.atomic.os.system",
        "potstill.benchmark.arguments.argparse.Namespace",
        "potstill.config.options.Path",
        "potstill.config.validate.DictConfig",  # a class, but of another package
        "potstill.training.module.DistillationModule.load_from_checkpoint",  # unpickles
        "torchvision.io.write_file",
        "torchvision.datasets.utils.download_url",
        "lightning.pytorch.seed_everything",
        "timm.models.load_checkpoint",
    ],
)
def test_what_could_do_harm_is_refused(target):
    with pytest.raises(ConfigError, match=r"^node\._target_="):
        permit(target, "node")


def test_a_misspelt_target_gets_the_nearest_names_beside_it():
    with pytest.raises(ConfigError, match=r"Fix: in potstill\.heads\.kd: KD"):
        permit("potstill.heads.kd.KDD", "node")
    with pytest.raises(ConfigError, match=r"Fix: in potstill\.heads: .*\bdkd\b"):
        permit("potstill.heads.dkdd.DKD", "node")
