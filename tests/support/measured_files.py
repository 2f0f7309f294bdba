"""A network trained for a moment, as every kind of file that can be measured."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from potstill.artifact.file import Artifact, save_artifact
from potstill.artifact.spec import ModelSpec
from potstill.config.instantiate import instantiate
from potstill.data.fake import Fake
from potstill.export.executorch import Pte
from potstill.export.onnx import Onnx
from potstill.export.torch_export import Pt2
from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static
from potstill.quantization.scheme import Scheme

BUILDER = {"_target_": "potstill.models.tiny_cnn.tiny_cnn", "num_classes": 5, "width": 4}
SHAPE = (3, 32, 32)
DATA = {"num_classes": 5, "test_size": 60, "train_size": 300, "val_size": 40, "noise": 90.0}
OVERRIDES = tuple(f"data.{key}={value}" for key, value in DATA.items())


def data():
    found = Fake(image_size=32, **DATA)
    found.setup()
    return found


def trained(seed, steps):
    torch.manual_seed(seed)
    network = instantiate(BUILDER)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    batches = list(data().train_dataloader())
    for step in range(steps):
        image, target, _ = batches[step % len(batches)]
        optimizer.zero_grad()
        F.cross_entropy(network(image), target).backward()
        optimizer.step()
    return network.eval()


def facts(found):
    return {
        "class_names": list(found.class_names),
        "mean": list(found.mean),
        "std": list(found.std),
        "image_shape": list(SHAPE),
    }


def write(folder):
    """Return the networks, and the path of each file."""
    found = data()
    images = next(iter(found.val_dataloader()))[0]
    teacher, student = trained(0, 90), trained(1, 60)
    integers, about = convert(quantize_static(student, [images])), facts(found)
    spec = ModelSpec.of(BUILDER)
    quantized = spec.then({"kind": "int8_static", **Scheme().to_dict()})
    paths = {
        "teacher": save_artifact(folder / "teacher.safetensors", teacher, Artifact(spec, about)),
        "student": save_artifact(folder / "student.safetensors", student, Artifact(spec, about)),
        "int8": save_artifact(folder / "int8.safetensors", integers, Artifact(quantized, about)),
        "onnx": Onnx()(student, folder / "student", images, about).path,
        "int8_onnx": Onnx()(integers, folder / "int8", images, about).path,
        "pte": Pte(largest_batch=8)(student, folder / "student", images, about).path,
        "pt2": Pt2()(student, folder / "student", images, about).path,
    }
    networks = {"teacher": teacher, "student": student, "int8": integers}
    return SimpleNamespace(networks=networks, paths=paths, data=found, folder=folder)
