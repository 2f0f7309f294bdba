"""Strict loading of weights from files, in which nothing is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import DataError
from potstill.integrity.tensors import load_tensors

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".tar")
SHOWN = 3


def is_path(weights: str) -> bool:
    """Return whether `weights` means a file (there or not) rather than a published name."""
    return weights.endswith(SUFFIXES) or Path(weights).expanduser().is_file()


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a file's weights into `model`; every key and shape must fit.

    Raises:
        DataError: if the file is missing, damaged, unsafe, not finite or does not fit.
    """
    fit_state(model, read_state(path), path)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the weights in a safetensors file or a torch checkpoint, by their bare names.

    A checkpoint is a state dict, or holds one under "state_dict" or "model". Of a training
    checkpoint of ours only the keys under "student." are taken; "module." and "_orig_mod."
    (left by data-parallel and compiled networks) are cut off.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise DataError(
            f"weights={path}: no such file, looked for {file}. Fix: copy or download the file "
            "there, name another, or train from scratch with weights=null"
        )
    state = _bare_names(_state_dict(_read(file), file))
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise DataError(
                f"weights={file}: {key} holds NaN or infinity. Fix: take an earlier checkpoint"
            )
    return state


def shared_names(network: nn.Module) -> dict[str, str]:
    """Return the first name of every tensor of the state that has several, by its other names.

    Example:
        >>> first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        >>> second.weight = first.weight
        >>> shared_names(nn.Sequential(first, second))
        {'1.weight': '0.weight'}
    """
    first: dict[Any, str] = {}
    state = network.state_dict(keep_vars=True).items()
    named = {name: first.setdefault(_identity(value), name) for name, value in state}
    return {name: known for name, known in named.items() if known != name}


def _identity(value: Any) -> Any:
    # Without values there is no memory to go by.
    if not isinstance(value, Tensor) or value.is_meta or value.layout != torch.strided:
        return id(value)
    return (value.data_ptr(), value.shape, value.stride()) if value.numel() else id(value)


def fit_state(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load `state` into `model`; `source` is named where a key, shape or type does not fit.

    Of a tensor that has several names in the network one of them is enough.
    """
    own, state = model.state_dict(), _with_shared(model, state, source)
    # Checkpoints from before torch 0.4.1 have no counter of batches.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    shapes = [
        f"{k} is {tuple(state[k].shape)} in the file and {tuple(own[k].shape)} in the network"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    kinds = [
        f"{k} is {state[k].dtype} in the file and {own[k].dtype} in the network"
        for k in own
        if k in state and not _same_kind(state[k], own[k])
    ]
    wrong = [
        f"{len(found)} {what} ({', '.join(found[:SHOWN])}{', ...' if len(found) > SHOWN else ''})"
        for what, found in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misfits", shapes + kinds),
        )
        if found
    ]
    if wrong:
        raise DataError(
            f"weights={source}: does not fit {type(model).__name__}: {'; '.join(wrong)}. "
            "Fix: name the network, stem and num_classes that the weights were trained with"
        )
    own.update(state)
    model.load_state_dict(own)


def _same_kind(given: Tensor, own: Tensor) -> bool:
    """Return whether one may be converted to the other: real to real, or the same integers."""
    if given.is_floating_point() and own.is_floating_point():
        return True
    whole = not given.is_floating_point() and not given.is_complex()
    return given.dtype == own.dtype or (whole and own.dtype == torch.int64)


def _with_shared(
    model: nn.Module, state: Mapping[str, Tensor], source: str | Path
) -> dict[str, Tensor]:
    """Return `state` with every name of the tensors that have several in the network."""
    full, others = dict(state), shared_names(model)
    for name, first in others.items():
        if name in full and not torch.equal(full.setdefault(first, full[name]), full[name]):
            raise DataError(
                f"weights={source}: {first} and {name} are one tensor in {type(model).__name__}, "
                "and two in the file. Fix: weights of a network that shares them"
            )
    return full | {name: full[first] for name, first in others.items() if first in full}


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_tensors(file, f"weights={file}")
        return torch.load(file, map_location="cpu", weights_only=True)
    except (MemoryError, DataError):
        raise
    except Exception as error:  # a damaged zip or pickle can raise nearly anything
        raise DataError(_damaged(file, error)) from error


def _damaged(file: Path, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"weights={file}: damaged, or not a file of weights only ({reason}). Fix: fetch the file "
        "again; if it holds a whole pickled network, save its state_dict() instead"
    )


def _state_dict(content: Any, file: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise DataError(f"weights={file}: holds no state dict. Fix: save model.state_dict()")
    for key, value in content.items():
        if not (isinstance(key, str) and isinstance(value, Tensor)):
            raise DataError(
                f"weights={file}: {key} is a {type(value).__name__}, not a tensor. "
                "Fix: save model.state_dict(), bare or under the key state_dict"
            )
    return content


def _bare_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {_bare(key): value for key, value in state.items()}
    student = {k.removeprefix("student."): v for k, v in named.items() if k.startswith("student.")}
    return {_bare(key): value for key, value in student.items()} if student else named


def _bare(key: str) -> str:
    key = key.replace("_orig_mod.", "")
    while key.startswith("module."):
        key = key.removeprefix("module.")
    return key
