"""Training steps through the DeepSpeed engine, and its state as plain tensors.

ZeRO (Rajbhandari et al. 2020) stage 0 keeps the optimizer's state on every rank, stage 1 shares it out. Weights,
gradients and the optimizer's state are fp32; `bf16` runs the matrix products under autocast, so that small updates of norms
are not lost to rounding. State is gathered by parameter, so a run resumes under another number of ranks or ZeRO stage.
What it gives up: ZeRO 2 and 3, and bf16 weights, which save memory that only larger models need.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from stages.base import SettingsError
from stages.model.distributed import World
from stages.model.network import IGNORED, Network
from stages.model.optimizers import SHARDED, OptimizerName, make_optimizer, optimizer_groups
from stages.model.optimizers.adamw import AdamW
from stages.model.optimizers.sophia import Sophia

Precision = Literal["fp32", "bf16"]
State = Mapping[str, Tensor]


class TrainingError(Exception):
    """Training cannot go on. The message names the step."""


@dataclass(frozen=True)
class Optimization:
    """How a step is taken."""

    batch_sequences: int
    micro_batch_sequences: int
    weight_decay: float
    max_gradient_norm: float
    precision: Precision
    zero_stage: int
    optimizer: OptimizerName = "adamw"
    batch_parts: int = 1
    """At most so many updates share a batch."""


class Batch(NamedTuple):
    """What one rank learns from in a step: B x T inputs and the token after each, -100 where it is not scored.

    With `documents_BT` a position sees only those before it that have its own number.
    """

    inputs_BT: Tensor
    targets_BT: Tensor
    documents_BT: Tensor | None = None

    def rows(self, first: int, count: int, device: torch.device) -> "Batch":
        """A micro-batch, on the device where it is computed."""
        inputs_BT, targets_BT, documents_BT = (None if t is None else t[first : first + count].to(device) for t in self)
        assert inputs_BT is not None
        assert targets_BT is not None
        return Batch(inputs_BT, targets_BT, documents_BT)


class Taken(NamedTuple):
    """A step that was taken: over all ranks the loss in nats a token, the gradient norm before clipping, the tokens."""

    loss: float
    gradient_norm: float
    num_tokens: int


class Engine:
    """A network that learns. Every rank calls the same methods in the same order."""

    def __init__(self, network: Network, optimization: Optimization, world: World) -> None:
        self.network, self.optimization, self.world = network, optimization, world
        share = optimization.batch_sequences // world.size
        if share * world.size != optimization.batch_sequences:
            problem = f"index.batch_sequences {optimization.batch_sequences} does not split over {world.size} ranks"
            raise SettingsError(problem)
        if share % optimization.batch_parts:
            problem = f"{share} sequences a rank do not split into {optimization.batch_parts} equal updates"
            raise SettingsError(f"{problem}: set fewer pretrain.batch_doublings, or another index.batch_sequences")
        part = share // optimization.batch_parts
        most = min(part, optimization.micro_batch_sequences)
        self.micro = max(size for size in range(1, most + 1) if part % size == 0)
        if self._sharded and optimization.optimizer not in SHARDED:
            problem = f"pretrain.optimizer {optimization.optimizer} needs each weight and its gradient whole"
            raise SettingsError(f"{problem}: set pretrain.zero_stage=0, found {optimization.zero_stage}")
        groups = optimizer_groups(optimization.optimizer, network.to(world.device), optimization.weight_decay)
        self._optimizer = make_optimizer(optimization.optimizer, groups)
        self._deepspeed = _deepspeed_engine(network, self._optimizer, self._config(), world)
        if self._sharded:
            self._link_shards()

    def step(self, batch: Batch, learning_rate: float, step: int) -> Taken:
        """Learn from this rank's share of the batch, or of an equal part; scored tokens of all ranks weigh the same.

        Raises TrainingError, before the weights change, if loss or gradient are not finite.
        """
        taken = self.measure(batch, step)
        if not math.isfinite(taken.loss):
            cure = "try a lower pretrain.learning_rate or longer warm-up"
            raise TrainingError(f"step {step}: the loss is {taken.loss}; {cure}")
        if not math.isfinite(taken.gradient_norm):
            words = f"the gradient norm is {taken.gradient_norm}, with a loss of {taken.loss:.4f}"
            raise TrainingError(f"step {step}: {words}")
        self.apply(learning_rate)
        return taken

    def measure(self, batch: Batch, step: int) -> Taken:  # noqa: ARG002 - which step it is may matter to other engines
        """Loss and gradient of a batch, ready to be applied; the weights stay. Neither need be finite."""
        if isinstance(self._optimizer, Sophia) and self._optimizer.due:
            self._estimate_curvature(self._optimizer, batch)
        device, num_micro = self.world.device, len(batch.inputs_BT) // self.micro
        num_scored = self.world.sum((batch.targets_BT != IGNORED).sum().to(device))
        weight = (self.world.size / num_scored).float()  # DeepSpeed takes the mean over ranks
        total = torch.zeros((), dtype=torch.float64, device=device)
        for index in range(num_micro):
            inputs_BT, targets_BT, documents_BT = batch.rows(index * self.micro, self.micro, device)
            self._deepspeed.set_gradient_accumulation_boundary(index == num_micro - 1)
            loss = self._deepspeed(inputs_BT, targets_BT, "sum", documents_BT) * weight
            total += loss.detach()
            self._deepspeed.backward(loss)
            if index < num_micro - 1:
                self._deepspeed.step()
        return Taken(float(self.world.sum(total)) / self.world.size, self._gradient_norm(), int(num_scored))

    def apply(self, learning_rate: float, max_norm: float | None = None) -> None:
        """Change the weights by the measured gradient, clipped at `max_norm` (by default, at the setting)."""
        limit = self.optimization.max_gradient_norm if max_norm is None else max_norm
        if self._sharded:
            self._deepspeed.optimizer.clip_grad = limit
        else:
            self._deepspeed._config.gradient_clipping = limit  # noqa: SLF001 - it has no call that sets it
        for group in self._deepspeed.optimizer.param_groups:
            group["lr"] = learning_rate
        self._deepspeed.step()

    def discard(self) -> None:
        """Forget the measured gradient."""
        self._deepspeed.micro_steps = 0
        self._deepspeed.optimizer.zero_grad()
        if self._sharded:
            self._deepspeed.optimizer.averaged_gradients.clear()

    def autocast(self) -> torch.autocast:
        """The number format of the forward pass, for measurements outside a step."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.optimization.precision == "bf16")

    def state(self) -> dict[str, Tensor]:
        """fp32 weights and the optimizer's state by parameter name, on the CPU, whole on every rank."""
        found = {}
        for name, parameter in self.network.named_parameters():
            found[f"weights/{name}"] = _copy(self._weights(parameter))
            for key in self._keys(parameter):
                found[f"{key}/{name}"] = _copy(self._state(parameter, key))
        return found

    def restore(self, state: State, step: int) -> None:
        """Go on from a state that was taken after `step` steps of the optimizer."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for state_of in self._optimizer.state.values():
            state_of["step"].fill_(step)
        for name, parameter in self.network.named_parameters():
            weights = state[f"weights/{name}"].to(self.world.device)
            parameter.data.copy_(weights)
            safe_set_full_fp32_param(parameter, weights)
            for key in self._keys(parameter):
                value = state[f"{key}/{name}"].to(self.world.device)
                if self._sharded:
                    safe_set_full_optimizer_state(parameter, value, key)
                else:
                    self._optimizer.state[parameter][key].copy_(value)

    @property
    def _sharded(self) -> bool:
        return self.optimization.zero_stage > 0

    def _estimate_curvature(self, optimizer: Sophia, batch: Batch) -> None:
        """Sophia's estimate, from the first micro-batch of every rank; its labels follow from steps taken and rank."""
        inputs_BT, targets_BT, documents_BT = batch.rows(0, self.micro, self.world.device)
        chance = torch.Generator(self.world.device).manual_seed(
            optimizer.steps_taken * self.world.size + self.world.rank
        )
        parameters = list(self.network.parameters())
        with self.autocast():
            drawn_BT = self.network.draw(inputs_BT, documents_BT, chance).masked_fill(targets_BT == IGNORED, IGNORED)
            loss = self.network(inputs_BT, drawn_BT, "sum", documents_BT)
        num_scored = int(self.world.sum((drawn_BT != IGNORED).sum()))
        gradients = [self.world.sum(g) / num_scored for g in torch.autograd.grad(loss, parameters)]
        optimizer.update_curvature(parameters, gradients, num_scored)

    def _gradient_norm(self) -> float:
        if self._sharded:
            norm = float(self._deepspeed.optimizer.scaled_global_norm())
            return norm if norm >= 0 else math.nan  # -1 stands for one that is not finite
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))  # the engine keeps none for stage 0

    def _weights(self, parameter: Tensor) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param

        whole: Tensor = safe_get_full_fp32_param(parameter) if self._sharded else parameter
        return whole

    def _keys(self, parameter: Tensor) -> list[str]:
        """Names of the optimizer's tensors for a parameter; shards have those of all others of their kind."""
        state = next(iter(self._optimizer.state.values())) if self._sharded else self._optimizer.state[parameter]
        return [key for key in state if key != "step"]

    def _state(self, parameter: Tensor, key: str) -> Tensor:
        from deepspeed.utils import safe_get_full_optimizer_state

        whole: Tensor = (
            safe_get_full_optimizer_state(parameter, key) if self._sharded else self._optimizer.state[parameter][key]
        )
        return whole

    def _link_shards(self) -> None:
        """Make the state of the shards that ZeRO put in place of the parameters, and link parameters to it.

        ZeRO links them when the first group has stepped, when the second has no state yet, and never again.
        """
        self._optimizer.start()
        self._deepspeed.optimizer._lazy_init_hp_params_optimizer_state()  # noqa: SLF001 - no public call links

    def _config(self) -> dict[str, Any]:
        wanted = self.optimization
        autocast = {"enabled": wanted.precision == "bf16", "dtype": "bfloat16", "lower_precision_safe_modules": []}
        return {
            "train_micro_batch_size_per_gpu": self.micro,
            "gradient_accumulation_steps": 1,  # `step` says where an update's gradients end
            "gradient_clipping": wanted.max_gradient_norm,
            "zero_optimization": {"stage": wanted.zero_stage},
            "zero_allow_untested_optimizer": True,  # only those of `SHARDED`
            "torch_autocast": autocast,  # no module "safe": gradients are added up in fp32
            "steps_per_print": 1 << 62,
        }


def _deepspeed_engine(network: Network, optimizer: AdamW, config: dict[str, Any], world: World) -> Any:
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if world.device.type == "cpu":
        # An optional collective that is compiled at first use, for two minutes, under a lock that a kill leaves behind.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), auto_mpi_discovery=False, verbose=False)
    engine, *_ = deepspeed.initialize(model=network, optimizer=optimizer, config=config, dist_init_required=False)
    return engine


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
