"""What a stage decides is written first and repeated; a rehearsal measures and writes nothing."""

import pytest
import torch

from potstill.errors import ConfigError, DataError
from potstill.integrity.sealed import read_sealed
from potstill.pipeline.stages.context import StageContext

SHAPE = (3, 16, 16)


def test_a_decision_is_written_and_repeated(tmp_path):
    context = StageContext(SHAPE, folder=tmp_path)
    assert context.decided("a.json", lambda: {"lo": 0.1}) == {"lo": 0.1}
    assert read_sealed(tmp_path / "a.json") == {"lo": 0.1}
    again = context.decided("a.json", lambda: pytest.fail("decided again"))
    assert again == {"lo": 0.1}
    later = StageContext(SHAPE, previous=tmp_path)
    assert later.before("a.json") == {"lo": 0.1}
    assert context.before("a.json") is None


def test_a_damaged_decision_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text("{")
    context = StageContext(SHAPE, folder=tmp_path, previous=tmp_path)
    for read in (lambda: context.decided("a.json", dict), lambda: context.before("b.json")):
        with pytest.raises(DataError, match=r"damaged .*Fix: delete the stage's folder") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_rehearsal_writes_and_reads_nothing(tmp_path):
    (tmp_path / "a.json").write_text('{"n": 1}')
    context = StageContext(SHAPE, folder=tmp_path, dry_run=True)
    assert context.decided("a.json", lambda: {"n": 2}) == {"n": 2}
    assert (tmp_path / "a.json").read_text() == '{"n": 1}'
    ((images, targets),) = context.batches(8)
    assert images.shape == (2, *SHAPE)
    assert not images.any()
    assert targets.tolist() == [0, 0]


def test_images_come_from_the_data():
    given = [(torch.ones(4, *SHAPE), torch.arange(4))]
    assert StageContext(SHAPE, training_batches=lambda count: given * count).batches(2) == given * 2
    with pytest.raises(ConfigError, match="no images to measure with"):
        StageContext(SHAPE).batches(1)


def test_a_decision_needs_no_folder():
    assert StageContext(SHAPE).decided("a.json", lambda: {"n": 1}) == {"n": 1}
