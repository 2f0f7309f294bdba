"""What processes tell each other, and predictions that they share."""

import pytest
import torch
from torch import nn

from potstill.data.loaders.in_memory import ArrayEvalLoader, Images, Normalize
from potstill.distributed import collectives
from potstill.distributed.consistency import check_same
from potstill.errors import ConfigError
from potstill.training.predict import predict
from tests.support.forked import forked, grouped

NUMBER = 101  # odd: the processes' shares differ
VALUES = [{"a": [1, 2.5, None], "b": "ü"}, True, "x" * 300]


def loader():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (NUMBER, 3, 4, 4), generator=generator, dtype=torch.uint8)
    normalize = Normalize((0.5,) * 3, (0.5,) * 3)
    return ArrayEvalLoader(Images(images, torch.arange(NUMBER) % 7), 16, normalize)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 7))


class Odd(nn.Module):
    """Every kind of tensor that a network keeps."""

    def __init__(self, rank):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("count", torch.tensor(5 + rank))
        self.register_buffer("on", torch.tensor([True, False, rank == 1]))
        self.register_buffer("codes", torch.full((2, 3), 7 - rank, dtype=torch.int8))
        self.register_buffer("lo", torch.tensor([-0.0, float("nan"), float("inf")]) - rank)
        self.register_buffer("none", torch.zeros(0, 3))
        nn.init.constant_(self.linear.weight, rank + 1 / 3)
        self.rough = nn.Parameter(torch.full((3,), 0.1 + rank, dtype=torch.bfloat16))


def refusal(config):
    with pytest.raises(ConfigError) as caught:
        check_same(config)
    return str(caught.value)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")

    def work(rank):
        shared = Odd(rank)
        collectives.share(shared)
        with collectives.first_goes_ahead() as first:
            seen = (folder / "there").exists()
            if first:
                torch.save(0, folder / "late")
                (folder / "there").touch()
        same = {"temperature": 4.0, "module": {"lr": 0.1, "list": [1, 2]}}
        check_same(same)
        drawn = {"temperature": 4.0 + rank, "module": {"lr": 0.1 * (rank + 1)}}
        return {
            "place": (collectives.rank(), collectives.world(), collectives.is_first()),
            "gathered": collectives.gather(VALUES[rank]),
            "broadcast": collectives.broadcast(VALUES[0] if rank == 0 else object()),
            "rows": collectives.gather_rows(torch.arange(6).view(3, 2)[: 3 - 2 * rank] + 10 * rank),
            "none": collectives.gather_rows(torch.zeros(rank, 2)),
            "shared": dict(shared.state_dict()),
            "seen": seen,
            "predicted": predict(network(), loader(), torch.device("cpu")),
            "refusal": refusal(drawn),
            "missing": refusal({"a": {"b": 1}} if rank else {"a": {}}),
        }

    return forked(grouped(work), folder / "of")


def test_each_knows_its_place(found):
    assert [part["place"] for part in found] == [(0, 2, True), (1, 2, False)]


@pytest.mark.parametrize("rank", [0, 1])
def test_plain_values_come_as_they_were(found, rank):
    assert found[rank]["gathered"] == VALUES[:2]
    assert found[rank]["broadcast"] == VALUES[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_rows_of_all_come_by_rank_whatever_their_number(found, rank):
    assert [part.tolist() for part in found[rank]["rows"]] == [[[0, 1], [2, 3], [4, 5]], [[10, 11]]]
    assert [tuple(part.shape) for part in found[rank]["none"]] == [(0, 2), (1, 2)]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_shared_network_is_the_first_ones_bit_for_bit(found, rank):
    expected = Odd(0).state_dict()
    expected["linear.bias"] = found[0]["shared"]["linear.bias"]
    for name, value in found[rank]["shared"].items():
        assert value.dtype == expected[name].dtype
        raw = [v.contiguous().flatten().view(torch.uint8) for v in (value, expected[name])]
        assert torch.equal(*raw), name


def test_the_first_goes_ahead(found):
    assert [part["seen"] for part in found] == [False, True]


@pytest.mark.parametrize("rank", [0, 1])
def test_predictions_are_of_every_image_once_in_order(found, rank):
    alone = predict(network(), loader(), torch.device("cpu"))
    assert found[rank]["predicted"][1].tolist() == [number % 7 for number in range(NUMBER)]
    torch.testing.assert_close(found[rank]["predicted"], alone)


@pytest.mark.parametrize("rank", [0, 1])
def test_other_settings_are_refused_in_every_process(found, rank):
    assert found[rank]["refusal"].startswith("module.lr: 0.1 in one process, 0.2 in another. Fix:")
    assert found[rank]["missing"].startswith("a: {} in one process, nothing in another. Fix:")


def test_one_process_needs_no_group():
    assert (collectives.rank(), collectives.world(), collectives.is_first()) == (0, 1, True)
    assert collectives.broadcast({"a": [1]}) == {"a": [1]}
    rows = torch.arange(3)
    assert torch.equal(collectives.gather_rows(rows)[0], rows)
    with collectives.first_goes_ahead() as first:
        assert first
    collectives.barrier()
    check_same({"a": 1})
