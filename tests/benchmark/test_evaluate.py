"""Which data a file may be tested on, and what an engine's refusal looks like."""

import shutil

import pytest
import torch
from torch import nn

from potstill.benchmark.corruptions import corrupted
from potstill.benchmark.evaluate import check_fits, load_test, predict_files
from potstill.benchmark.open_file import open_file
from potstill.errors import ConfigError, DataError
from tests.support.measured_files import OVERRIDES
from tests.support.places import CONF, CONF_SAMPLE


def test_data_is_that_of_the_config(files):
    loaded = load_test("fake", OVERRIDES, CONF)
    assert loaded.data.fingerprint == files.data.fingerprint


def test_a_config_file_may_not_say_where_downloads_go(tmp_path):
    shutil.copytree(CONF_SAMPLE, tmp_path / "conf")
    away = tmp_path / "away"
    text = f"{{_target_: potstill.data.cifar.CIFAR, root: {away}}}"
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"^data\.root=.*Fix: data\.root=\.\.\. on the command"):
        load_test("mine", (), tmp_path / "conf")
    assert not away.exists()


def test_a_file_of_other_normalisation_does_not_fit(files):
    opened = open_file(files.paths["onnx"])
    check_fits(opened, files.data)
    other = load_test("fake", [*OVERRIDES, "data.std=[0.2,0.2,0.2]"], CONF).data
    with pytest.raises(ConfigError, match=r"made for std=\[0\.25, .* --set data\.std=\[0\.25,0\.2"):
        check_fits(opened, other)


def test_a_graph_that_takes_no_batch_is_one_line(tmp_path, files):
    path = tmp_path / "net.pt2"
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 5))
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 32, 32),)), path)
    with pytest.raises(DataError, match=r"net\.pt2: takes no 60 images at once"):
        predict_files({0: open_file(path)}, files.data.test_dataloader())


def test_images_are_corrupted_as_bytes_and_normalised_again(files, monkeypatch):
    seen = []

    def note(images, name, ids, severity):
        seen.append((images, name, ids, severity))
        return 255 - images

    monkeypatch.setattr("potstill.benchmark.corruptions.corrupt", note)
    [(image, target, _)] = corrupted(files.data, "fog", 2)
    images = files.data._splits["test"]
    [(given, name, ids, severity)] = seen
    torch.testing.assert_close(torch.from_numpy(given), images.images.permute(0, 2, 3, 1))
    assert (name, severity, ids.tolist()) == ("fog", 2, list(range(60)))
    expected = ((255 - images.images.float()) / 255 - 0.5) / 0.25
    torch.testing.assert_close(image, expected, check_stride=False)
    assert torch.equal(target, images.targets)
