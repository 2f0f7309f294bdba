"""Objects made from configs, compared with what torch and plain Python make."""

import pytest
import torch
from omegaconf import OmegaConf

from potstill.config.instantiate import instantiate
from potstill.errors import ConfigError, DataError

NODE = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}


def test_instantiate_makes_what_torch_makes():
    made = instantiate(OmegaConf.create(NODE), bias=False)
    assert isinstance(made, torch.nn.Linear)
    assert made.weight.shape == torch.nn.Linear(2, 3).weight.shape
    assert made.bias is None
    parameter = torch.nn.Parameter(torch.ones(1))
    partial = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5}
    optimizer = instantiate(partial, momentum=0.9)([parameter])
    assert optimizer.param_groups[0]["params"][0] is parameter
    assert (optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (0.5, 0.9)


def test_instantiate_gives_plain_lists_and_passes_objects_untouched():
    node = {"_target_": "torch.nn.Unflatten", "dim": 1, "unflattened_size": [2, 2]}
    node = OmegaConf.create(node)
    assert type(instantiate(node).unflattened_size) is list
    inner = [torch.nn.ReLU()]
    assert instantiate({"_target_": "torch.nn.ModuleList"}, modules=inner)[0] is inner[0]


def test_instantiate_keeps_the_list_at_every_depth():
    inside = {"_target_": "torch.nn.ModuleList", "modules": [{"_target_": "os.getpid"}]}
    for bad in ({"_target_": "os.getpid"}, inside):
        with pytest.raises(ConfigError, match=r"_target_=os\.getpid: n"):
            instantiate(bad)


def test_a_constructors_refusal_names_its_place_in_the_config():
    node = {"_target_": "potstill.heads.lskd.LSKD", "alpha": 2.0}
    cfg = OmegaConf.create({"module": {"heads": {"lskd": node}}})
    for given in (cfg.module.heads, cfg.module.heads.lskd):
        with pytest.raises(ConfigError, match=r"^module\.heads\.lskd\.alpha=2\.0, .* Fix: module"):
            instantiate(given)
    cfg.module.heads.lskd.alpha = -1
    with pytest.raises(ConfigError, match=r"^module\.heads\.lskd\.alpha=-1: must be null or a num"):
        instantiate(cfg.module.heads)
    cfg = OmegaConf.create({"net": {"_target_": "torch.nn.Linear", "in_features": 2}})
    with pytest.raises(ConfigError, match=r"^net: .*missing .* 'out_features'"):
        instantiate(cfg.net)


@pytest.mark.parametrize("extra", [{}, {"weight": 1.0}])
@pytest.mark.parametrize("error", [DataError("gone. Fix: x"), RuntimeError("odd")])
def test_other_errors_of_a_constructor_come_through_unchanged(monkeypatch, error, extra):
    def fail(self, **kwargs):
        raise error

    monkeypatch.setattr("potstill.heads.kd.KD.__init__", fail)
    with pytest.raises(type(error)) as caught:
        instantiate({"_target_": "potstill.heads.kd.KD"}, **extra)
    assert caught.value is error
