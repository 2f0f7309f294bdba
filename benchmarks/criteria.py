"""Which channels to take: every criterion at equal MACs and equal recovery, on digits.

python benchmarks/criteria.py [--macs 0.5] [--seeds 3] [--json FILE]
"""

import argparse
import copy
import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.progress import track
from torch import Tensor, nn

from potstill.data.digits import Digits
from potstill.data.loaders.calibration import first_batches
from potstill.measure.metrics import accuracy
from potstill.models.cifar_resnet import cifar_resnet
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.target import Target
from potstill.training.predict import predict

CONF = Path(__file__).parents[1] / "conf" / "criterion"
CRITERIA = sorted(path.stem for path in CONF.glob("*.yaml"))


def train(network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], lr: float) -> None:
    """Train on these batches, in place."""
    optimizer = torch.optim.AdamW(network.parameters(), lr)
    network.train()
    for image, target in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(image), target).backward()
        optimizer.step()


def epochs(data: Digits, first: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of some epochs."""
    loader = data.train_dataloader()
    for epoch in range(first, first + count):
        loader.set_epoch(epoch)
        for image, target, _ in loader:
            yield image, target


def compare(seed: int, macs: float, train_epochs: int, recover: int) -> dict[str, list[float]]:
    """Return {criterion: [accuracy before recovery, and after it]} on the test set."""
    data = Digits(seed=seed, batch_size=64)
    data.setup()
    torch.manual_seed(seed)
    dense = cifar_resnet(8, 10)
    train(dense, epochs(data, 0, train_epochs), 2e-3)
    found = {"(not pruned)": [_test(dense, data)] * 2}
    for name in track(CRITERIA, f"seed {seed}"):
        criterion = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
        network = copy.deepcopy(dense)
        batches = first_batches(data, 4)
        options = {"batches": batches, "loss": F.cross_entropy, "round_to": 1}
        prune_channels(network, data.image_shape, criterion, Target(macs=macs), **options)
        before = _test(network, data)
        train(network, epochs(data, train_epochs, recover), 1e-3)
        found[name] = [before, _test(network, data)]
    return found


def _test(network: nn.Module, data: Digits) -> float:
    return accuracy(*predict(network, data.test_dataloader(), torch.device("cpu")))


def main(arguments: list[str] | None = None) -> dict[str, list[list[float]]]:
    """Print the table, and return {criterion: [[before, after] of each seed]}."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that stays")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of training before")
    parser.add_argument("--recover", type=int, default=4, help="epochs after")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    runs = [compare(s, given.macs, given.epochs, given.recover) for s in range(given.seeds)]
    found = {name: [run[name] for run in runs] for name in runs[0]}
    print(f"| criterion, {given.macs:.0%} of the MACs | pruned | after {given.recover} epochs |")
    print("|---|---:|---:|")
    for name, pairs in sorted(found.items(), key=lambda item: -_mean(item[1], 1)):
        print(f"| {name} | {_shown(pairs, 0)} | {_shown(pairs, 1)} |")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))
    return found


def _mean(pairs: list[list[float]], which: int) -> float:
    return statistics.mean(pair[which] for pair in pairs)


def _shown(pairs: list[list[float]], which: int) -> str:
    values = [100 * pair[which] for pair in pairs]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {spread:.1f} %"


if __name__ == "__main__":
    main()
