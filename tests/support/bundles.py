"""The script of a bundle."""

import importlib.util


def script_of(folder):
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("classify", folder / "classify.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
