"""Tiny pairs of networks, every head from its option file, and a few steps of training."""

import lightning.pytorch as pl
import torch
from omegaconf import OmegaConf
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from potstill.config.instantiate import instantiate
from potstill.data.fake import Fake
from potstill.heads.index import catalog
from potstill.models.tiny_cnn import tiny_cnn
from potstill.training.module import DistillationModule
from tests.support.places import CONF

OPTIONS = CONF / "head"
HEADS = [name for name, _ in catalog()]
STEPS, BATCH, CLASSES, PIXELS = 3, 8, 5, 16


def cnn(width, seed):
    torch.manual_seed(seed)
    return tiny_cnn(CLASSES, image_size=PIXELS, width=width)


def vit(seed):
    torch.manual_seed(seed)
    network = VisionTransformer(PIXELS, 4, 3, 2, 12, 16, num_classes=CLASSES)
    nn.init.normal_(network.heads.head.weight)  # zero at first, and so would be all logits
    return network


PAIRS = {
    "cnn-cnn": (lambda seed: cnn(6, seed), lambda seed: cnn(4, seed)),
    "vit-cnn": (vit, lambda seed: cnn(4, seed)),
    "cnn-vit": (lambda seed: cnn(6, seed), vit),
}


def make_head(name, **settings):
    option = OmegaConf.load(OPTIONS / f"{name}.yaml")
    config = OmegaConf.merge({"temperature": 4.0}, option, {name: settings})
    return instantiate(config[name])


def make_module(pair, heads, seed=0):
    """Return a module whose student is drawn from `seed`; the teacher is always the same."""
    teacher, student = PAIRS[pair]
    return DistillationModule(
        student(seed),
        teacher(1) if heads else None,
        heads,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
        image_shape=(3, PIXELS, PIXELS),
    )


def fit(module, steps, views=1, seed=2, ckpt_path=None, **settings):
    """Train on; `seed` is what adapters are drawn from."""
    torch.manual_seed(seed)
    data = Fake(
        num_classes=CLASSES,
        image_size=PIXELS,
        train_size=STEPS * BATCH + CLASSES,
        val_size=CLASSES,
        test_size=CLASSES,
        batch_size=BATCH,
        views=views,
        flip=True,
    )
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer
