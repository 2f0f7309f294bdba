"""JSON files that carry the version of their format and the sha256 of their own text.

The checksum shows damage. Whoever can write a file can write its checksum too: that a file comes
from whom it should is for signatures and the place it was fetched from.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from potstill.atomic import write_atomically
from potstill.errors import DataError

log = logging.getLogger("potstill")
VERSION, CHECKSUM = "version", "content_sha256"
DEEPEST = 64  # levels of lists and mappings; what is written here has fewer than 16
LARGEST = 2**28  # bytes
_SEALED = re.compile(r'(.*), "content_sha256": "([0-9a-f]{64})"}\n?', re.DOTALL)


def seal(content: Mapping[str, Any], version: int = 1, **layout: Any) -> str:
    """Return `content` as JSON with its format's version and its own sha256.

    Args:
        content: keys are strings; `version` and `content_sha256` are not among them.
        version: of the format.
        layout: of `json.dumps`.

    >>> seal({"step": 5})[:43]
    '{"version": 1, "step": 5, "content_sha256":'
    """
    return seal_text(json.dumps({VERSION: version, **content}, **layout))


def seal_text(text: str) -> str:
    """Return the text of a JSON object, which has a version, with its own sha256 as last entry."""
    head = text.rstrip().removesuffix("}").rstrip()
    return f'{head}, "{CHECKSUM}": "{_sha256(head)}"}}'


def unseal(
    text: str | bytes,
    source: object,
    version: int = 1,
    fix: str = "copy it again",
    before: type = dict,
) -> Any:
    """Return what `seal` was given.

    What was written before files had checksums is returned as it is, and a line of the log says
    so.

    Args:
        text: of the file.
        source: the file, for messages.
        version: the newest that is known.
        fix: what would help, for messages.
        before: the type of what files held before they had checksums.

    Raises:
        DataError: if the text is not as it was written, or of a newer version.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        content = parse(decoded)
        if not _claims_a_seal(content):
            if not isinstance(content, before):
                raise ValueError("other contents than such a file has")
            _say_unsealed(str(source))
            return content
        match = _SEALED.fullmatch(decoded)
        if match is None or _sha256(match[1]) != match[2]:
            raise ValueError("its sha256 differs")
        found = content.pop(VERSION, None)
        del content[CHECKSUM]
    except ValueError as error:
        raise DataError(f"{source}: damaged ({error}). Fix: {fix}") from error
    if type(found) is not int or not 0 < found <= version:
        raise DataError(
            f"{source}: is of version {found}, this potstill reads up to {version}. "
            "Fix: a newer potstill"
        )
    return content


def parse(text: str) -> Any:
    """Return the value of a JSON text that is neither too long nor too deep for its readers.

    Raises:
        ValueError: with the reason.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text):,} characters, at most {LARGEST:,} are read")
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("lists and mappings too deep") from None
    check_depth(content)
    return content


def check_depth(content: Any) -> None:
    """Raise ValueError where lists and mappings lie deeper than `DEEPEST`."""
    level, depth = [content], 0
    while level := [
        inner
        for value in level
        if isinstance(value, dict | list)
        for inner in (value.values() if isinstance(value, dict) else value)
        if isinstance(inner, dict | list)
    ]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"lists and mappings deeper than {DEEPEST}")


def write_sealed(path: Path, content: Mapping[str, Any], version: int = 1, **layout: Any) -> Path:
    """Write `content` sealed, whole or not at all; see `seal`."""
    return write_atomically(path, seal(content, version, **layout) + "\n")


def read_sealed(path: Path, version: int = 1, fix: str = "copy it again", **legacy: type) -> Any:
    """Return what `write_sealed` wrote; see `unseal`.

    Raises:
        DataError: if the file cannot be read, is damaged, or of a newer version.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.stat().st_size:,} bytes, at most {LARGEST:,} are read")
        text = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: damaged ({reason}). Fix: {fix}") from error
    return unseal(text, path, version, fix, **legacy)


def _claims_a_seal(content: Any) -> bool:
    # Either key will do: one of the two may be what was damaged.
    return isinstance(content, dict) and (VERSION in content or CHECKSUM in content)


@cache
def _say_unsealed(source: str) -> None:
    log.warning("%s: from before files had a sha256; damage would not show", source)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
