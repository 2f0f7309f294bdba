"""Checksums beside files whose formats have no place for one, as `sha256sum` writes them.

`sha256sum -c FILE.sha256` checks a file as well, `sha256sum -c SHA256SUMS` all of a folder.
"""

import hashlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from potstill.atomic import write_atomically
from potstill.errors import DataError

log = logging.getLogger("potstill")
FOLDER = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\0]+)")


def sums_of(path: Path) -> Path:
    """Return where the checksum of a single file lies."""
    return path.with_name(f"{path.name}.sha256")


def write_sum(path: Path, *parts: Path) -> None:
    """Write the checksum of a file beside it, and those of the files it is no use without."""
    write_atomically(sums_of(path), _text(sorted({path, *parts})))


def write_sums(folder: Path) -> None:
    """Write the checksums of every file of a folder into it."""
    files = sorted(path for path in folder.iterdir() if path.name != FOLDER)
    write_atomically(folder / FOLDER, _text(files))


def check_sum(path: Path) -> None:
    """Raise where a file is not what the checksum beside it was made of, nor those of its stem.

    A file without one passes, and a line of the log says so.

    Raises:
        DataError: naming the file, or the checksum's, that is damaged.
    """
    own, of_folder = sums_of(path), path.with_name(FOLDER)
    listed = own if own.is_file() else of_folder
    if not listed.is_file():
        log.warning("%s: no %s beside it; damage would not show", path, own.name)
        return
    sums = _read(listed)
    if path.name not in sums:
        raise _damaged(listed, f"does not name {path.name}")
    for name in (name for name in sums if Path(name).stem == path.stem):
        part = path.with_name(name)
        if not part.is_file() or _sha256(part) != sums[name]:
            raise _damaged(part, f"its sha256 is not that in {listed.name}")


def _text(files: Iterable[Path]) -> str:
    return "".join(f"{_sha256(file)}  {file.name}\n" for file in files)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, str]:
    """Return the sha256 of each file by name."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    matches = [_LINE.fullmatch(line) for line in lines[:-1]]
    if lines[-1] or not all(matches):
        raise _damaged(path, "a line of it is no checksum")
    return {match[2]: match[1] for match in matches if match}


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: damaged ({reason}). Fix: copy it again")
