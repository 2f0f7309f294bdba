import pytest

from potstill.errors import ConfigError
from potstill.heads.base import Head
from potstill.heads.common.schedules import WarmUp
from potstill.heads.kd import KD
from potstill.training.loss_weights import Weighting


class Feature(Head):
    kind = "feature"
    default_weight = 100.0


def test_alpha_shares_between_task_and_response_heads():
    weighting = Weighting({"kd": KD(), "hint": Feature()}, alpha=0.3, task_weight=None)
    assert weighting.at(0) == {"task": pytest.approx(0.7), "kd": 0.3, "hint": 100.0}


def test_free_weights_follow_schedules():
    heads = {"kd": KD(weight=WarmUp(2.0, epochs=4)), "hint": Feature(weight=0.5)}
    weighting = Weighting(heads, alpha=None, task_weight=0.1)
    assert weighting.at(0.9) == {"task": 0.1, "kd": 0.5, "hint": 0.5}
    assert weighting.at(7)["kd"] == 2.0


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(ConfigError, match="alpha"):
        Weighting({"kd": KD()}, alpha, None)


def test_saying_it_twice_is_refused():
    with pytest.raises(ConfigError, match="task_weight"):
        Weighting({"kd": KD()}, 0.5, 1.0)
    with pytest.raises(ConfigError, match=r"heads\.kd\.weight"):
        Weighting({"kd": KD(weight=0.9)}, 0.5, None)
