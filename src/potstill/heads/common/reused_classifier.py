"""Student with the teacher's classifier, the network that SimKD deploys."""

from torch import Tensor, nn

from potstill.heads.common.shapes import to_map
from potstill.models.features.hooks import hook_side, hooked


class ToMap(nn.Module):
    """Tokens (N, L, C) as a square map (N, C, H, W)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the map (N, C, H, W); see `to_map`."""
        return to_map(tokens)


class ReusedClassifier(nn.Module):
    """The student's body up to a layer, then `resize`, `projector`, global average, `classifier`.

    `forward(images)` takes (N, C, H, W) and returns logits (N, K). The body runs to its end and
    what comes after the layer is thrown away: exporters that trace drop it. The parts are the
    given ones, not copies, so that training them goes on to show here. Hooks run
    under `torch.fx` for layers that are no leaves of its tracer, under `torch.export` for all.

    Args:
        body: the student.
        path: the layer's module path.
        side: "output", or "input" for what goes into the layer.
        resize: from the layer's feature to a map not larger than the teacher's.
        projector: to maps of the teacher's width.
        classifier: the teacher's.
    """

    def __init__(
        self,
        body: nn.Module,
        path: str,
        side: str,
        resize: nn.Module,
        projector: nn.Module,
        classifier: nn.Linear,
    ) -> None:
        super().__init__()
        self.body, self.path, self.side = body, path, side
        self.resize, self.projector, self.classifier = resize, projector, classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        pooled: list[Tensor] = []
        # Projected inside the hook, as later layers may overwrite the feature in place.
        layer = self.body.get_submodule(self.path)
        with hooked([hook_side(layer, self.side, lambda f: pooled.append(self._project(f)))]):
            self.body(images)
        return self.classifier(pooled[-1])

    def _project(self, feature: Tensor) -> Tensor:
        return self.projector(self.resize(feature)).mean((2, 3))
