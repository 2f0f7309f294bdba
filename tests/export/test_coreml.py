"""Core ML packages: written in int8 with what a user must know, never taken for checked."""

import importlib.util
import json
import math

import pytest

from potstill.errors import ConfigError
from potstill.export import coreml
from potstill.export.coreml import CoreMl
from tests.support.exported_nets import CLASSES, FACTS, integers, make_images, small


def test_nobody_takes_it_for_checked():
    with pytest.raises(ConfigError, match=r"export=coreml: .* Fix: another export, or export"):
        CoreMl()


@pytest.mark.skipif(not importlib.util.find_spec("coremltools"), reason="coremltools is missing")
def test_package(tmp_path, monkeypatch):
    written, convert = [], coreml.convert
    monkeypatch.setattr(coreml, "convert", lambda *a: written.append(convert(*a)) or written[0])
    done = CoreMl(unchecked=True)(integers(small()), tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == [done.path]
    assert done.bytes == sum(f.stat().st_size for f in done.path.rglob("*") if f.is_file())
    assert math.isnan(done.agreement)
    assert math.isnan(done.sqnr_db)
    kinds = [op.op_type for op in written[0]._mil_program.functions["main"].operations]
    assert kinds.count("constexpr_affine_dequantize") == 4  # three convolutions, one linear
    about = written[0].user_defined_metadata
    assert about["labels"].split("\n") == list(CLASSES)
    assert json.loads(about["preprocess"])["precision"] == "int8"
