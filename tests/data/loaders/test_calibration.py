"""Calibration batches: forms a batch may have, and how many are taken."""

import pytest
import torch

from potstill.data.loaders.calibration import calibration_batches
from potstill.errors import ConfigError


def test_batches_may_be_images_or_tuples_with_views_and_end_early():
    image, target = torch.randn(4, 3, 8, 8), torch.zeros(4)
    given = [image, (image, target), ((image, image + 1), target, target)]
    found = list(calibration_batches(given, 8))
    assert [len(batch) for batch in found] == [1, 2, 3]
    assert all(torch.equal(batch[0], image) for batch in found)
    assert len(list(calibration_batches(given))) == 3


def test_no_more_are_read_than_wanted():
    endless = iter(lambda: torch.zeros(1, 3, 8, 8), None)
    assert len(list(calibration_batches(endless, 2))) == 2


@pytest.mark.parametrize("batches", [[], iter(())])
def test_nothing_to_calibrate_with(batches):
    with pytest.raises(ConfigError, match="nothing to calibrate with"):
        list(calibration_batches(batches))
