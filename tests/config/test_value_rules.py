"""Which values each setting may have."""

import math

import pytest

from potstill.config.value_rules import check_value
from potstill.errors import ConfigError


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("seed", [0, 2**32 - 1], [-1, 2**32, 1.0, True, "0"]),
        ("select", ["last", "best"], ["first"]),
        ("temperature", [0.1, 4, 1e6], [0, -1.0, "4", True]),
        ("module.heads.kd.temperature", [0.5], [0]),
        ("module.heads.kd.weight", [0, 2.5, None], [-0.1]),
        ("alpha", [0, 0.5, 1, None], [-0.01, 1.01, "0.5"]),
        ("module.task_weight", [0, None], [-1]),
        ("module.label_smoothing", [0.0, 1], [1.5, -0.1]),
        ("module.optimizer.lr", [1e-9, 10], [0, -1, "fast"]),
        ("data.batch_size", [1, 512], [0, -1, 1.5, "8"]),
        ("data.eval_batch_size", [1], [0]),
        ("trainer.max_epochs", [1, None], [0, -1, 2.0]),
        ("trainer.precision", ["auto", "32-true", 32, "bf16-mixed"], ["64-true", "bf16-true", 64]),
        ("trainer.limit_train_batches", [1, 20, 0.1, 1.0, None], [0, 0.0, 1.5, -1, True]),
        ("trainer.enable_checkpointing", [True, None], [False, "no"]),
        ("teacher.accuracy", [0.93, None], [93.0]),
        ("threads", [1, None], [0]),
    ],
)
def test_values_in_and_out_of_range(path, good, bad):
    for value in good:
        check_value(path, value)
    for value in bad:
        with pytest.raises(ConfigError) as caught:
            check_value(path, value)
        assert str(caught.value).startswith(f"{path}={value}: must be ")
        assert f"Fix: {path}=" in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_anywhere_may_be_infinite_or_nan(value):
    with pytest.raises(ConfigError, match="must be finite"):
        check_value("callbacks.any.setting", value)
