"""Every head of features: gradient, tokens taken as maps, every precision, option file."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest

from potstill.heads.ab import AB
from potstill.heads.at import AT
from potstill.heads.base import Head
from potstill.heads.cwd import CWD
from potstill.heads.fitnet import FitNet
from potstill.heads.fsp import FSP
from potstill.heads.ft import FT
from potstill.heads.ickd import ICKD
from potstill.heads.mgd import MGD
from potstill.heads.nst import NST
from potstill.heads.pooled_mse import PooledMSE
from potstill.heads.reviewkd import ReviewKD
from potstill.heads.sp import SP
from potstill.heads.vid import VID
from potstill.heads.vkd import VkD
from potstill.heads.wkd_f import WKDF
from tests.support.feature_cases import (
    CASES,
    DTYPES,
    check_gradient,
    check_numerics,
    check_tokens,
    check_yaml,
    t,
)
from tests.support.head_pairs import HEADS, make_head
from tests.support.tiny_nets import check_networks, cnn, vit

Shapes = list[tuple[int, ...]]
REVIEWED = {"student": ("a", "pooled"), "teacher": ("b", "pooled")}


@dataclass(frozen=True)
class Case:
    """A head and shapes it takes; tokens are squares of each of `resolutions`, None for no maps."""

    head: Callable[[], Head]
    gradient: tuple[Shapes, Shapes] = ([(2, 2, 4, 4)], [(2, 3, 2, 2)])
    numerics: tuple[Shapes, Shapes] = ([(4, 3, 8, 8)], [(4, 5, 4, 4)])
    tokens: tuple[Shapes, Shapes] | None = ([(2, 6, 4, 4)], [(2, 5, 4, 4)])
    resolutions: tuple[int, ...] = (2, 4, 8)
    rtol32: float = 1e-5


WIDER = Case(AB, tokens=([(2, 3, 4, 4)], [(2, 5, 2, 2)]), resolutions=(4,))
FSP_TWO = partial(FSP, ["a", "b"], ["c", "d"])
EVERY = {
    "ab": Case(partial(AB, "a", "b"), tokens=([(2, 5, 4, 4)], [(2, 5, 4, 4)]), rtol32=2e-5),
    "ab, same shapes": Case(
        partial(AB, "a", "b"),
        gradient=([(2, 2, 3, 3)], [(2, 2, 3, 3)]),
        numerics=([(4, 5, 4, 4)], [(4, 5, 4, 4)]),
        resolutions=(3,),
        rtol32=2e-5,
    ),
    "at, p=1": Case(partial(AT, "a", "b", p=1.0)),
    "at, p=2": Case(partial(AT, "a", "b", p=2.0)),
    "cwd": replace(WIDER, head=CWD),
    "fitnet": Case(FitNet, resolutions=(4, 8), rtol32=2e-5),
    "fsp": Case(
        FSP_TWO,
        gradient=([(2, 2, 4, 4), (2, 3, 2, 2)], [(2, 3, 4, 4), (2, 3, 4, 4)]),
        numerics=([(4, 3, 8, 8), (4, 2, 4, 4)], [(4, 3, 8, 8), (4, 4, 4, 4)]),
        tokens=([(2, 4, 4, 4), (2, 3, 4, 4)], [(2, 4, 2, 2), (2, 5, 4, 4)]),
        resolutions=(1, 2, 4),
    ),
    "ft, p1=2": Case(partial(FT, p1=2.0), gradient=([(2, 2, 4, 4)], [(2, 4, 2, 2)])),
    "ft, p1=None": Case(partial(FT, p1=None), gradient=([(2, 2, 4, 4)], [(2, 4, 2, 2)])),
    "ickd": Case(ICKD, resolutions=(2, 4), rtol32=1e-4),
    "mgd": replace(WIDER, head=lambda: MGD(mask_ratio=0.3).eval()),
    "nst": Case(partial(NST, "a", "b")),
    "pooled_mse": Case(PooledMSE),
    "reviewkd": Case(
        partial(ReviewKD, **REVIEWED),
        gradient=([(2, 3, 4, 4), (2, 4)], [(2, 5, 2, 2), (2, 3)]),
        numerics=([(4, 3, 8, 8), (4, 4)], [(4, 5, 4, 4), (4, 3)]),
        tokens=([(2, 3, 4, 4), (2, 4, 2, 2)], [(2, 5, 2, 2), (2, 6, 2, 2)]),
        resolutions=(4,),
        rtol32=1e-4,
    ),
    # Its tokens count all, and not as a map: a test of its own has them.
    "sp": Case(SP, gradient=([(4, 2, 2, 2)], [(4, 3, 3, 3)]), tokens=None),
    "vid": Case(partial(VID, "a", "b"), resolutions=(1, 2, 4, 8)),
    "vkd": Case(VkD),
    "wkd_f": replace(WIDER, head=partial(WKDF, hidden=4), rtol32=1e-4),
}
TOKENS = [
    (name, resolution)
    for name, case in EVERY.items()
    if case.tokens is not None
    for resolution in case.resolutions
]


@pytest.mark.parametrize("name", EVERY)
def test_gradient(name):
    check_gradient(EVERY[name].head(), *EVERY[name].gradient)


@pytest.mark.parametrize(("name", "resolution"), TOKENS)
def test_tokens_are_maps(name, resolution):
    students, teachers = EVERY[name].tokens
    (count, width, *_), *others = students
    students = [(count, width, resolution, resolution), *others]
    check_tokens(
        EVERY[name].head(),
        [t(shape, 0.31, 0.1 * place) for place, shape in enumerate(students, 1)],
        [t(shape, 0.47, 0.2 * place) for place, shape in enumerate(teachers, 1)],
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_numerics(name, dtype, case):
    one = EVERY[name]
    check_numerics(one.head(), *one.numerics, dtype, case, rtol32=one.rtol32)


@pytest.mark.parametrize(("student", "teacher"), [(cnn, vit), (vit, cnn), (vit, vit), (cnn, cnn)])
@pytest.mark.parametrize("name", ["cwd", "mgd", "ofd", "wkd_f"])
def test_networks(name, student, teacher):
    settings = {"hidden": 4} if name == "wkd_f" else {}
    check_networks(make_head(name, **settings), student(), teacher(seed=1))


@pytest.mark.parametrize("name", HEADS)
def test_option_holds_the_defaults(name):
    check_yaml(name, type(make_head(name))())
