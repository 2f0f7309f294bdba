"""Booleans that live in buffers, so that every checkpoint holds them."""

from torch import nn

from potstill.libraries.torch import version_of


def is_on(module: nn.Module, name: str) -> bool:
    """Return the value of the Boolean buffer `name`.

    On a GPU it is fetched only after somebody has written to it: reading it at every step would
    make the host wait for the device at every layer.
    """
    flag = module.get_buffer(name)
    if flag.is_cpu or flag.is_inference():
        return bool(flag)
    known = module.__dict__.setdefault("_flags", {})
    mark = (id(flag), version_of(flag))
    if known.get(name, (None, False))[0] != mark:
        known[name] = (mark, bool(flag))
    return known[name][1]
