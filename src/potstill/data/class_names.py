"""Names of classes: each one line of text, as labels.txt, tables and the metadata of files need."""

import unicodedata
from collections.abc import Sequence

from potstill.errors import DataError

# Control characters, halves of a pair (bytes of a file's name that are not UTF-8), line ends.
REFUSED = {"Cc", "Cs", "Zl", "Zp"}


def check_names(names: Sequence[str], place: str) -> None:
    r"""Raise where a name is not one line of text.

    Args:
        names: of the classes, by label.
        place: where they come from, for the message.

    Raises:
        DataError: naming the first such class.

    >>> check_names(["cat", "d\nog"], "data.root=photos")
    Traceback (most recent call last):
    potstill.errors.DataError: data.root=photos: the class 'd\nog' is not one line of text...
    """
    for name in names:
        if not name.strip() or any(unicodedata.category(letter) in REFUSED for letter in name):
            shown = repr(name if len(name) <= 100 else f"{name[:100]}...")
            raise DataError(
                f"{place}: the class {shown} is not one line of text in UTF-8, as labels.txt "
                "needs. Fix: another name for it"
            )
