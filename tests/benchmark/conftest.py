"""The files that every test here measures, made once."""

import pytest


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("executorch")
    from tests.support.measured_files import write

    return write(tmp_path_factory.mktemp("measured"))
