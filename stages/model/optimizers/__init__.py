"""Optimizers by name: each a `torch.optim.Optimizer` whose state is plain tensors, a dictionary a parameter.

`step` in that dictionary counts steps; whatever else it holds is what a checkpoint has to keep. All weights and state
are fp32.
"""

from typing import Literal

from stages.model.network import Network
from stages.model.optimizers.adamw import AdamW, Group
from stages.model.optimizers.matrices import MatrixOptimizer
from stages.model.optimizers.muon import Muon
from stages.model.optimizers.soap import SOAP
from stages.model.optimizers.sophia import Sophia
from stages.model.schedule import parameter_groups

OptimizerName = Literal["adamw", "muon", "sophia", "soap"]
CLASSES: dict[OptimizerName, type[AdamW]] = {"adamw": AdamW, "muon": Muon, "sophia": Sophia, "soap": SOAP}
SHARDED = frozenset({"adamw"})  # those that work on flat shards of parameters as they do on the parameters


def optimizer_groups(name: OptimizerName, network: Network, weight_decay: float) -> list[Group]:
    """The network's weights as this optimizer groups them."""
    return parameter_groups(network, weight_decay, matrices=issubclass(CLASSES[name], MatrixOptimizer))


def make_optimizer(name: OptimizerName, groups: list[Group]) -> AdamW:
    """The optimizer of these groups; the learning rate is set before each step, in every group's `lr`."""
    return CLASSES[name](groups)
