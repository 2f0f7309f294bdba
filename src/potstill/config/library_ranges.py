"""Ranges of the arguments of libraries' classes, which say only their types."""

from potstill.config.ranges import Ranges

PRECISIONS = ("auto", "32-true", "32", 32, "bf16-mixed", "bf16", "16-mixed", "16", 16)
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
# Only DDP in processes already started gives every stage a whole network.
STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
)
PROFILERS = ("simple", "advanced", "pytorch", "xla")
_LIMIT = ("int [0, inf)", "float [0, 1]")

_TRAINER: Ranges = {
    "accelerator": ACCELERATORS,
    "strategy": STRATEGIES,
    "devices": ("auto", -1, "[1, inf)"),
    "num_nodes": "[1, inf)",
    # A network keeps float32 weights.
    "precision": PRECISIONS,
    "fast_dev_run": (True, False, "[0, inf)"),
    "max_epochs": ("not null", "int [1, inf)"),
    "min_epochs": "[0, max_epochs]",
    "max_steps": (-1, "[1, inf)"),
    "min_steps": "[0, inf)",
    "max_time": "like 00:12:00:00",
    "limit_train_batches": ("int [1, inf)", "float (0, 1]"),
    "limit_val_batches": _LIMIT,
    "limit_test_batches": _LIMIT,
    "limit_predict_batches": _LIMIT,
    "val_check_interval": ("int [1, inf)", "float (0, 1]", "like 00:12:00:00"),
    "check_val_every_n_epoch": "[1, inf)",
    "num_sanity_val_steps": (-1, "[0, inf)"),
    "log_every_n_steps": "[0, inf)",
    "enable_checkpointing": True,  # callbacks.checkpoint=null leaves checkpoints out
    "accumulate_grad_batches": "[1, inf)",
    "gradient_clip_val": "[0, inf)",
    "gradient_clip_algorithm": ("norm", "value"),
    "deterministic": (True, False, "warn"),
    "profiler": PROFILERS,
    "reload_dataloaders_every_n_epochs": "[0, inf)",
}
_RATES: Ranges = {"lr": "(0, inf)", "weight_decay": "[0, inf)", "eps": "[0, inf)"}
_BETAS: Ranges = {"betas": "[0, 1)"}

LIBRARY_RANGES: dict[str, Ranges] = {
    "lightning.pytorch.trainer.trainer.Trainer": _TRAINER,
    "torch.optim.optimizer.Optimizer": _RATES,
    "torch.optim.sgd.SGD": {"momentum": "[0, inf)", "dampening": "[0, 1]"},
    "torch.optim.adam.Adam": _BETAS,
    "torch.optim.nadam.NAdam": {**_BETAS, "momentum_decay": "[0, inf)"},
    "torch.optim.radam.RAdam": _BETAS,
    "torch.optim.adamax.Adamax": _BETAS,
    "torch.optim.adagrad.Adagrad": {"lr_decay": "[0, inf)"},
    "torch.optim.adadelta.Adadelta": {"rho": "[0, 1]"},
    "torch.optim.rmsprop.RMSprop": {"momentum": "[0, inf)", "alpha": "[0, inf)"},
}
