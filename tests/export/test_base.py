"""What all exporters share, and their options."""

import ast
import json

import pytest
from omegaconf import OmegaConf

from potstill.config.instantiate import instantiate
from potstill.export.base import describe_file, reason
from tests.support.exported_nets import FACTS
from tests.support.places import ROOT

OPTIONS = sorted((ROOT / "conf" / "export").glob("*.yaml"))
OPTIONAL = {"onnx", "onnxscript", "onnxruntime", "executorch", "coremltools", "openvino"} | {
    "litert_torch",
    "ai_edge_litert",
}


def test_description_is_what_a_user_must_know():
    about = json.loads(describe_file(FACTS, is_int8=True))
    assert about["input"] == {"shape": ["batch", 3, 16, 16], "dtype": "float32"}
    assert about["output"] == {"shape": ["batch", 5], "meaning": "logits"}
    assert about["order"] == [
        "resize", "crop", "divide by 255", "subtract mean", "divide by std",
    ]  # fmt: skip
    assert "dög" in describe_file(FACTS, is_int8=False)


def test_reason_is_the_first_line_that_says_something():
    assert reason(ValueError("\n  it broke \nmore")) == "it broke"
    assert reason(ValueError()) == "ValueError"


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_option_says_what_it_is_and_makes_an_exporter(path):
    assert path.read_text().startswith("# ")
    settings = {"unchecked": True} if path.stem == "coreml" else {}
    assert callable(instantiate(OmegaConf.load(path)[path.stem], **settings))


@pytest.mark.parametrize("folder", ["export", "runtimes"])
def test_optional_libraries_are_imported_only_when_used(folder):
    for path in (ROOT / "src" / "potstill" / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            assert not {name.partition(".")[0] for name in names} & OPTIONAL, path
