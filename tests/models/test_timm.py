import sys

import pytest
import timm
import torch

from potstill.errors import ConfigError, DataError
from potstill.models.timm import timm_model


def test_outputs_are_timms_own():
    torch.manual_seed(0)
    ours = timm_model("test_resnet", 7, drop_rate=0.3).eval()
    torch.manual_seed(0)
    theirs = timm.create_model("test_resnet", num_classes=7, drop_rate=0.3).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(x), theirs(x))
    assert ours.drop_rate == 0.3


def test_a_network_for_one_image_size_is_made_for_ours():
    model = timm_model("test_vit", 10, image_size=32).eval()
    assert model.patch_embed.img_size == (32, 32)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert timm_model("test_vit", 10, img_size=64).patch_embed.img_size == (64, 64)


def test_an_unknown_name_raises_with_the_nearest():
    with pytest.raises(ConfigError, match=r"model_name=resnet10x: .*resnet10t"):
        timm_model("resnet10x", 10)


def test_a_missing_timm_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install potstill\[timm\]"):
        timm_model("resnet10t", 10)


def test_an_option_that_timm_refuses_raises():
    with pytest.raises(ConfigError, match=r"timm refuses \{'no_such_option': 1\}"):
        timm_model("test_resnet", 10, no_such_option=1)


def test_a_stem_raises():
    with pytest.raises(ConfigError, match="stem=cifar: a timm network"):
        timm_model("test_resnet", 10, stem="cifar")


def test_pretrained_where_timm_has_none_raises():
    name = next(n for n in timm.list_models() if not timm.models.get_pretrained_cfg(n).has_weights)
    with pytest.raises(ConfigError, match=f"weights=pretrained: timm has none for {name}"):
        timm_model(name, 10, weights="pretrained")


def test_pretrained_is_asked_for_and_its_absence_is_a_data_error(monkeypatch):
    def offline(name, pretrained, **options):
        assert pretrained
        raise FileNotFoundError("no\nnetwork")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DataError, match=r"could not fetch test_resnet from the hub \(no network\)"):
        timm_model("test_resnet", 10, weights="pretrained")


def test_a_file_is_loaded(tmp_path):
    source = timm.create_model("test_resnet", num_classes=10).eval()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    ours = timm_model("test_resnet", 10, weights=str(tmp_path / "w.pt")).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(x), source(x))
