"""The notebook runs from top to bottom, shows what it says, and is stored without output."""

import base64
import io
import re
from pathlib import Path

import matplotlib.image
import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat: pip install -e .[dev]")
nbclient = pytest.importorskip("nbclient", reason="nbclient: pip install -e .[dev]")
pytest.importorskip("ipykernel", reason="ipykernel: pip install -e .[dev]")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_output(path):
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """All that the quickstart puts out in its quick version."""
    folder = tmp_path_factory.mktemp("quickstart")
    notebook = read(FOLDER / "quickstart.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_QUICK", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("TMPDIR", str(folder))
        client = nbclient.NotebookClient(
            notebook, timeout=240, resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_nothing_is_said_on_stderr(outputs):
    assert [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"] == []


def test_figures_are_drawn(outputs):
    shown = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    images = [matplotlib.image.imread(io.BytesIO(base64.b64decode(png))) for png in shown]
    assert len(images) == 2
    assert all(image.std() > 0.05 for image in images)


def test_table_compares_three_trained_networks(outputs):
    text = "".join(o.text for o in outputs if o.output_type == "stream")
    found = re.findall(r"^(\w+) +([\d.]+)% +[\d.]+% +([\d.]+)% +([\d,]+)$", text, re.MULTILINE)
    rows = {name: (float(accuracy), float(agree), size) for name, accuracy, agree, size in found}
    assert list(rows) == ["teacher", "student", "baseline"]
    assert all(accuracy > 60 for accuracy, _, _ in rows.values())  # chance is 10
    assert rows["teacher"][1] == 100
    # 3x3 convolutions 3 -> a -> b, then b * 8 * 8 -> h -> 10, each with biases.
    for name, (a, b, h) in {"teacher": (32, 64, 512), "student": (16, 32, 256)}.items():
        size = 28 * a + (9 * a + 1) * b + (64 * b + 1) * h + (h + 1) * 10
        assert rows[name][2] == f"{size:,}"
