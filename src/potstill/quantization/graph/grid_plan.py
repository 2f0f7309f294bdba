"""Plan of quantization grids: values that need one, and values that must share one."""

from dataclasses import dataclass, field

from torch import fx

from potstill.quantization.graph.op_kinds import Kind, kinds

DEMANDING = (Kind.AFFINE, Kind.NORM)
FOLDS_NORM = (Kind.AFFINE,)
FOLDS_RECTIFIER = (Kind.AFFINE, Kind.NORM, Kind.JOIN)
MOVING = (Kind.MOVE, Kind.SPLIT, Kind.SAME)


@dataclass
class Grids:
    """The plan: what is rounded, and by which quantizer.

    A grid is named by one of its values; `find` gives that name.

    Args:
        rounded: values that a quantizer rounds, in the order in which they were met.
        kept: values already on a grid, which the int8 network quantizes to it once more.
    """

    rounded: list[fx.Node] = field(default_factory=list)
    kept: list[fx.Node] = field(default_factory=list)
    _parent: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def __contains__(self, node: object) -> bool:
        return node in self._parent

    def find(self, node: fx.Node) -> fx.Node:
        """Return the name of the grid that `node` is on."""
        while self._parent[node] is not node:
            node = self._parent[node]
        return node

    def require(self, node: fx.Node) -> None:
        """Give `node` a grid unless it has one."""
        if node not in self:
            self._parent[node] = node
            self.rounded.append(node)

    def join(self, node: fx.Node, other: fx.Node) -> None:
        """Put `node` on the grid of `other`, and all that shared a grid with it."""
        self._parent[self.find(node) if node in self else node] = self.find(other)

    def members(self) -> dict[fx.Node, list[fx.Node]]:
        """Return the rounded values of every grid."""
        groups: dict[fx.Node, list[fx.Node]] = {}
        for node in self.rounded:
            groups.setdefault(self.find(node), []).append(node)
        return groups


def plan_grids(graph_module: fx.GraphModule) -> Grids:
    """Return the grids on which every quantized step has its inputs and its output.

    Convolutions, linear layers and batch-norms are always quantized, other steps if all they
    compute with is. What one kernel does at once (convolution, batch-norm, ReLU) has no grid
    in between.
    """
    kind, grids = kinds(graph_module), Grids()
    for node in graph_module.graph.nodes:
        if kind[node] in MOVING:
            _follow(node, kind[node], grids)
        elif kind[node] not in (Kind.FLOAT, Kind.SIZE, Kind.HOOK):
            _quantize(node, kind, grids)
    return grids


def consumers(node: fx.Node, kind: dict[fx.Node, Kind]) -> list[fx.Node]:
    """Return the steps that compute with `node`."""
    return [user for user in node.users if kind[user] is not Kind.HOOK]


def _follow(node: fx.Node, kind: Kind, grids: Grids) -> None:
    source = node.all_input_nodes[0] if node.all_input_nodes else None
    if source in grids:
        grids.join(node, source)  # type: ignore[arg-type]
        if kind is Kind.MOVE:
            grids.kept.append(node)


def _quantize(node: fx.Node, kind: dict[fx.Node, Kind], grids: Grids) -> None:
    operands = [source for source in node.all_input_nodes if kind[source] is not Kind.SIZE]
    apart = [operand for operand in operands if not _folded(operand, kind)]
    if kind[node] in DEMANDING:
        for operand in apart:
            grids.require(operand)
    elif any(operand not in grids for operand in apart):
        return  # among float neighbours: rounding would cost accuracy and save nothing
    if kind[node] is Kind.CAT:
        for operand in operands:
            grids.join(operand, operands[0])
        grids.join(node, operands[0])
        grids.kept.append(node)
    elif not _folded(node, kind):
        grids.require(node)


def _folded(node: fx.Node, kind: dict[fx.Node, Kind]) -> bool:
    """Return whether one kernel computes `node` together with its only consumer."""
    users = consumers(node, kind)
    if len(users) != 1:
        return False
    after = kind[users[0]]
    return (kind[node] in FOLDS_NORM and after is Kind.NORM) or (
        kind[node] in FOLDS_RECTIFIER and after is Kind.RECTIFIER
    )
