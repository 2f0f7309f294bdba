"""The folder to copy: it classifies as the project does, with nothing of the project installed."""

import ast
import importlib.metadata
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image
from sklearn.datasets import load_digits

from potstill.data.digits import Digits
from potstill.data.loaders.in_memory import Normalize
from potstill.data.storage.decode import read_image
from potstill.data.transforms.random_crop import CentreCrop
from potstill.errors import DataError
from potstill.export import bundle, onnx
from potstill.export.bundle import Bundle
from potstill.export.bundled import classify
from potstill.export.executorch import Pte
from potstill.export.onnx import Onnx
from potstill.integrity.sums import write_sums
from tests.support.bundles import script_of
from tests.support.exported_nets import CLASSES, FACTS, integers, make_images, small
from tests.support.hostile_names import NAMES as HOSTILE
from tests.support.places import ROOT, SHARED

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
SCRIPT = ROOT / "src" / "potstill" / "export" / "bundled" / "classify.py"
RESIZE, CROP = FACTS["preprocess"]["resize"], FACTS["preprocess"]["crop"]
OTHER = json.dumps({**FACTS, "preprocess": {"resize": 8, "crop": 8}}).encode()
NEEDED = ("numpy", "pillow", "onnxruntime")


@pytest.fixture(scope="module")
def network():
    return integers(small())


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    stem = tmp_path_factory.mktemp("bundle") / "student"
    return Bundle()(network, stem, make_images(), FACTS).path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of every kind, good and bad."""
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((61, 43), Image.Resampling.BICUBIC)
    image.save(folder / "colour.jpg", quality=95)
    image.convert("L").save(folder / "grey.JPEG")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("P").save(folder / "palette.gif")
    image.resize((17, 203)).save(folder / "tall.png")
    image.resize((400, 3)).save(folder / "strip.bmp")
    deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "sixteen.png")
    (folder / "more").mkdir()
    image.convert("CMYK").save(folder / "more" / "print.jpg")
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.fixture(scope="module")
def bad(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    content = (photos / "colour.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "text.jpg").write_text("not an image")
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The Python of an environment that has numpy, Pillow and ONNX Runtime, linked from ours."""
    root = tmp_path_factory.mktemp("bare")
    try:
        venv.create(root, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no virtual environment can be made here ({error})")
    (packages,) = root.glob("lib/python*/site-packages")
    for name in NEEDED:
        files = importlib.metadata.distribution(name).files
        for top in {file.parts[0] for file in files if file.parts[0] != ".."}:
            (packages / top).symlink_to(importlib.metadata.distribution(name).locate_file(top))
    return root / "bin" / "python"


def run(python, folder, *args, content=None):
    """Run the folder's script as a person would, with nothing of this environment."""
    command = [str(python), str(folder / "classify.py"), *map(str, args)]
    found = subprocess.run(command, input=content, capture_output=True, env={}, timeout=60)
    return found.returncode, found.stdout.decode(), found.stderr.decode()


def by_the_project(path, resize=RESIZE, crop=CROP, mean=FACTS["mean"], std=FACTS["std"]):
    """Return a file as the project's ImageNet module shows it to a network in evaluation."""
    image = CentreCrop(crop, crop / resize)(read_image(path, 10**8))
    return Normalize(mean, std)(image[None]).contiguous()


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix not in (".txt", ""))


def test_folder_holds_what_it_says(folder, network):
    names = [
        "README.md",
        "SHA256SUMS",
        "classify.py",
        "labels.txt",
        "model.onnx",
        "preprocess.json",
    ]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "labels.txt").read_text(encoding="utf-8") == "ant\nbee\ncat\ndög\neel\n"
    about = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
    assert (about["preprocess"], about["precision"]) == (FACTS["preprocess"], "int8")
    assert os.listdir(folder.parent) == ["student-bundle"]


def test_nothing_of_ours_is_there(bare):
    for name in ("torch", "potstill", "torchvision"):
        found = subprocess.run([bare, "-c", f"import {name}"], env={}, capture_output=True)
        assert b"No module named" in found.stderr, name


def test_bare_environment_gives_the_networks_answers(bare, folder, photos, network):
    code, out, err = run(bare, folder, photos, "--top", "2", "--threads", "1")
    assert (code, err) == (0, "")
    lines = [line.split("\t") for line in out.splitlines()]
    files = [line[0] for line in lines[::2]]
    assert sorted(files) == [str(path) for path in files_in(photos)]
    with torch.no_grad():
        logits = torch.cat([network(by_the_project(path)) for path in map(Path, files)])
    probabilities, classes = logits.softmax(1).topk(2)
    assert [line[1] for line in lines] == [CLASSES[k] for k in classes.flatten()]
    found = torch.tensor([float(line[2].removesuffix(" %")) / 100 for line in lines])
    torch.testing.assert_close(found, probabilities.flatten(), atol=5e-3, rtol=0)
    assert all(float(line[3].removesuffix(" ms")) > 0 for line in lines)


def test_bad_images_are_one_line_each_and_the_others_run(bare, folder, photos, bad):
    good, missing = photos / "grey.JPEG", bad / "missing.jpg"
    code, out, err = run(bare, folder, bad, missing, good)
    assert code == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(good)]
    names = [bad / "empty.png", bad / "text.jpg", bad / "truncated.jpg", missing]
    lines = err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [str(name) for name in names]
    assert "truncated" in lines[2].rpartition(": ")[2]
    assert lines[3].endswith("No such file or directory")


def test_standard_input_and_benchmark(bare, folder, photos, bad):
    content = (photos / "colour.jpg").read_bytes()
    _, named, _ = run(bare, folder, photos / "colour.jpg")
    code, out, _ = run(bare, folder, "-", content=content)
    assert code == 0
    assert out.split("\t")[:3] == ["-", *named.split("\t")[1:3]]
    code, out, _ = run(bare, folder, "--benchmark", "--runs", "7", "--threads", "1", photos)
    numbers = r"\tmedian [\d.]+ ms\tp95 [\d.]+ ms\tof "
    assert code == 0
    assert re.fullmatch(rf"model.onnx\tthreads 1\t.*\nnetwork{numbers}7\nreading{numbers}8\n", out)


@pytest.mark.parametrize(
    ("args", "said"),
    [((), "no images"), (("--top", "0", "x.jpg"), "--top"), (("--colour",), "--colour")],
)
def test_usage(folder, args, said, capsys):
    with pytest.raises(SystemExit) as ended:
        script_of(folder).main(list(args))
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_folder_with_no_images(folder, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("")
    assert script_of(folder).main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: a folder without images\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.onnx", b"\x00", r"model\.onnx: .* Fix: copy it again"),
        ("model.onnx", None, r"no model\.onnx\|.*\|\.pte\. Fix: copy the whole folder"),
        ("labels.txt", b"ant\n", "1 labels for 5 classes. Fix: a line for each class"),
        ("preprocess.json", b"{", "Fix: copy the whole folder"),
        ("SHA256SUMS", b"0", "Fix: copy the whole folder"),
        ("SHA256SUMS", b"0  gone.txt", "gone.txt is not as SHA256SUMS has it. Fix: .*"),
        ("preprocess.json", OTHER, r"model\.onnx: .* Fix: copy the whole folder"),
    ],
)
def test_a_damaged_folder_is_one_line(folder, name, content, said, tmp_path, capsys):
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in folder.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    if content is None:
        (copied / name).unlink()
    else:
        (copied / name).write_bytes(content)
        if name != "SHA256SUMS":
            write_sums(copied)  # it was changed on purpose
    assert script_of(copied).main(["photo.jpg"]) == 2
    assert re.fullmatch(f"error: .*{said}\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["labels.txt", "preprocess.json", "model.onnx"])
def test_a_changed_file_is_noticed_but_for_one_that_is_not_listed(folder, name, tmp_path, capsys):
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copied / name).write_bytes((copied / name).read_bytes() + b" ")
    assert script_of(copied).main(["photo.jpg"]) == 2
    assert f"{name} is not as SHA256SUMS has it. Fix: copy" in capsys.readouterr().err
    lines = (copied / "SHA256SUMS").read_text().splitlines(keepends=True)
    (copied / "SHA256SUMS").write_text("".join(x for x in lines if f"  {name}" not in x))
    script_of(copied).main(["photo.jpg"])
    assert "SHA256SUMS" not in capsys.readouterr().err


def assert_same_images(found, expected, std, largest=1, share=0.2):
    """Compare prepared images: Pillow's resize and torchvision's round some values apart.

    By at most `largest` of 255, and that no more than a `share` of them.
    """
    steps = (torch.from_numpy(found) - expected) * 255 * torch.tensor(std).view(1, 3, 1, 1)
    assert steps.abs().max() < largest + 0.01
    assert (steps.abs() > 0.5).double().mean() < share


def test_images_are_prepared_as_by_the_project(folder, photos):
    script = script_of(folder)
    classifier = script.Classifier(folder / "model.onnx")
    for path in files_in(photos):
        assert_same_images(classifier.read(str(path)), by_the_project(path), FACTS["std"])


def test_photographs_are_prepared_as_by_the_project(folder):
    files = sorted((SHARED / "data" / "imagenette" / "val").glob("*/*.JPEG"))[::25]
    if not files:
        pytest.skip("no Imagenette beside the repository")
    script = script_of(folder)
    classifier = script.Classifier(folder / "model.onnx")
    for resize, crop in ((73, 64), (256, 224)):
        classifier.resize, classifier.crop = resize, crop
        for path in files:
            expected = by_the_project(path, resize, crop)
            assert_same_images(classifier.read(str(path)), expected, FACTS["std"], 2, 0.03)


def test_only_the_middle_is_resized(folder):
    """Against all of it resized, and then cut."""
    classifier = script_of(folder).Classifier(folder / "model.onnx")
    classifier.mean, classifier.std = np.float32(0), np.float32(1)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 97, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    whole = image.resize((int(97 * RESIZE / 40), RESIZE), Image.Resampling.BILINEAR)
    left = round((whole.width - CROP) / 2)
    cut = np.asarray(whole.crop((left, 1, left + CROP, 1 + CROP)), np.float32)
    assert np.abs(classifier.prepare(image)[0].transpose(1, 2, 0) - cut).max() <= 1


def test_digits_are_those_of_the_data_module(folder, tmp_path):
    """A grey image of 8x8 pixels, enlarged, and one of 32x32 that stays as it is."""
    data = Digits()
    data.setup()
    images = data.load()[1].images[:4]  # of the test set
    greys, labels = load_digits(return_X_y=True)
    found = [k for k in range(len(labels)) if same_digit(greys[k], images[0])]
    assert len(found) == 1
    classifier = script_of(folder).Classifier(folder / "model.onnx")
    classifier.resize = classifier.crop = 32
    expected = Normalize(FACTS["mean"], FACTS["std"])(images[:1]).contiguous()
    Image.fromarray(images[0, 0].numpy()).save(tmp_path / "large.png")
    large = torch.from_numpy(classifier.read(str(tmp_path / "large.png")))
    torch.testing.assert_close(large, expected, atol=1e-6, rtol=0)
    small_one = (greys[found[0]].reshape(8, 8) * (255 / 16)).round().astype(np.uint8)
    Image.fromarray(small_one).save(tmp_path / "small.png")
    assert_same_images(classifier.read(str(tmp_path / "small.png")), expected, FACTS["std"])


def same_digit(grey, image):
    levels = torch.tensor(grey.reshape(1, 1, 8, 8) * (255 / 16))
    large = torch.nn.functional.interpolate(levels, size=32, mode="bilinear")
    return bool((large[0, 0].round() - image[0]).abs().max() <= 1)


def test_orientation_is_ignored_as_in_training_unless_asked_for(folder, photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.open(photos / "alpha.png").convert("RGB").save(tmp_path / "turned.png", exif=exif)
    script = script_of(folder)
    plain, upright = (script.Classifier(folder / "model.onnx", 1, up) for up in (False, True))
    read = plain.read(str(tmp_path / "turned.png"))
    np.testing.assert_array_equal(read, plain.read(str(photos / "alpha.png")))
    turned = upright.read(str(tmp_path / "turned.png"))
    expected = plain.prepare(Image.open(photos / "alpha.png").convert("RGB").rotate(-90, expand=1))
    np.testing.assert_array_equal(turned, expected)


def test_logits_are_those_of_the_exported_file(folder, network):
    classifier = script_of(folder).Classifier(folder / "model.onnx")
    images = make_images()
    found = torch.from_numpy(np.stack([classifier.logits(one[None].numpy()) for one in images]))
    noise = (found - network(images)).square().sum() / network(images).square().sum()
    assert 10 * torch.log10(1 / noise) > 30  # what the exporter asks of its file
    np.testing.assert_allclose(
        script_of(folder).softmax(found[0].numpy()), found[0].double().softmax(0), rtol=1e-12
    )


def test_script_is_for_old_pythons_and_needs_little():
    source = SCRIPT.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}
    theirs = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    assert theirs == {"numpy", "PIL", *itertools.chain(*classify.RUNTIMES.values())}


@pytest.fixture(scope="module")
def both(network, tmp_path_factory):
    pytest.importorskip("executorch")
    stem = tmp_path_factory.mktemp("both") / "student"
    files = [write(network, stem, make_images(), FACTS) for write in (Pte(), Onnx())]
    return files, Bundle()(network, stem, make_images(), FACTS, files=files)


def test_a_bundle_takes_the_files_there_are(both, monkeypatch):
    (pte, onnx_file), done = both
    assert (done.path / "model.pte").read_bytes() == pte.path.read_bytes()
    assert (done.path / "model.onnx").read_bytes() == onnx_file.path.read_bytes()
    assert done.bytes == sum(file.stat().st_size for file in done.path.iterdir())
    assert done.sqnr_db == onnx_file.sqnr_db
    assert done.runtime == "ONNX Runtime and ExecuTorch"


def test_both_runtimes_say_the_same(both, photos, capsys):
    folder, answers = both[1].path, []
    for name in ("model.onnx", "model.pte"):
        assert script_of(folder).main(["--model", str(folder / name), str(photos)]) == 0
        lines = capsys.readouterr().out.splitlines()
        answers.append([line.split("\t")[:2] for line in lines])
    assert answers[0] == answers[1]
    assert len(answers[0]) == len(files_in(photos))


def test_readme_of_a_bundle(both, folder):
    text = (both[1].path / "README.md").read_text(encoding="utf-8")
    assert "pip install numpy Pillow onnxruntime\n" in text
    assert "floatArrayOf(0.4f, 0.5f, 0.6f)" in text
    assert "let std: [Float] = [0.2, 0.25, 0.3]" in text
    assert f"org.pytorch:executorch-android:{bundle.EXECUTORCH}" in text
    assert f"swiftpm-{bundle.EXECUTORCH_SWIFT}" in text
    alone = (folder / "README.md").read_text(encoding="utf-8")
    assert "export=[executorch,bundle]" in alone
    assert "model.pte` |" not in alone
    assert not re.search(r"{{|{%|\n\n\n| \n", text + alone)
    options = set(re.findall(r"(?<=\s)--[a-z]+(?= )", text)) - {"--immediate", "--nopreview"}
    known = set(re.findall(r'"(--[a-z]+)"', SCRIPT.read_text(encoding="utf-8")))
    assert options - {"--encoding", "--output"} <= known


def test_versions_are_those_the_project_exports_with():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = map(Requirement, project["optional-dependencies"]["export"])
    specifier = next(one.specifier for one in wanted if one.name == "executorch")
    assert bundle.EXECUTORCH in specifier
    assert bundle.EXECUTORCH_SWIFT.split(".")[:2] == bundle.EXECUTORCH.split(".")[:2]


def test_a_network_that_is_refused_leaves_no_folder(network, tmp_path, monkeypatch):
    def refuse(*_):
        raise DataError("export=onnx: refused. Fix: another")

    Bundle()(network, tmp_path / "net", make_images(), FACTS)
    monkeypatch.setattr(onnx, "convert", refuse)
    with pytest.raises(DataError, match="refused"):
        Bundle()(network, tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_large_images_are_refused_before_they_are_decoded(folder, tmp_path, capsys):
    buffer = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(buffer, "PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    assert script_of(folder).main([str(tmp_path)]) == 1
    assert "900000000 pixels" in capsys.readouterr().err


def test_hostile_names_are_text_and_a_line_each(network, tmp_path):
    names = HOSTILE[-len(CLASSES) :]
    facts = {**FACTS, "class_names": list(names)}
    folder = Bundle()(network, tmp_path / "student", make_images(), facts).path
    assert (folder / "labels.txt").read_text(encoding="utf-8").split("\n") == [*names, ""]
    assert names[0] not in (folder / "README.md").read_text(encoding="utf-8")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    assert session.get_modelmeta().custom_metadata_map["labels"].split("\n") == list(names)
    Image.new("RGB", (9, 9)).save(tmp_path / "a\nb\t\x1b[0m.png")
    # Labels may be edited by whoever has the folder, and takes their checksum out.
    sums = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    kept = "".join(text for text in sums if "labels.txt" not in text)
    (folder / "SHA256SUMS").write_text(kept)
    (folder / "labels.txt").write_text("\n".join(["\x1b[31m", *names[1:]]), encoding="utf-8")
    code, out, _ = run(sys.executable, folder, tmp_path, "--top", len(names))
    assert code == 0
    found = [text.split("\t") for text in out.removesuffix("\n").split("\n")]
    assert {image.rpartition("/")[2] for image, *_ in found} == {r"a\nb\t\x1b[0m.png"}
    assert sorted(label for _, label, *_ in found) == sorted([r"\x1b[31m", *names[1:]])
