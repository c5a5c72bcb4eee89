"""Training steps through the DeepSpeed engine, and its state as plain tensors.

ZeRO (Rajbhandari et al. 2020) stage 0 keeps the optimizer's state on every rank, stage 1 shares it out. Weights,
gradients and AdamW's moments are fp32; `bf16` runs the matrix products under autocast, so that small updates of norms
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
from stages.model.schedule import parameter_groups

Precision = Literal["fp32", "bf16"]
State = Mapping[str, Tensor]
MOMENTS = ("exp_avg", "exp_avg_sq")
BETAS, EPSILON = (0.9, 0.95), 1e-8  # the usual choice for language models since GPT-3 (Brown et al. 2020)


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


class Batch(NamedTuple):
    """What one rank learns from in a step: B x T inputs and the token after each, -100 where it is not scored.

    With `documents_BT` a position sees only those before it that have its own number.
    """

    inputs_BT: Tensor
    targets_BT: Tensor
    documents_BT: Tensor | None = None


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
        most = min(share, optimization.micro_batch_sequences)
        self.micro = max(size for size in range(1, most + 1) if share % size == 0)
        self.num_micro = share // self.micro
        self._deepspeed = _deepspeed_engine(network, optimization, self._config(), world)
        self._make_moments()

    def step(self, batch: Batch, learning_rate: float, step: int) -> Taken:
        """Take one step on this rank's share of the batch; every scored token of all ranks has the same weight in it.

        Raises TrainingError, before the weights change, if the loss is not finite.
        """
        for group in self._deepspeed.optimizer.param_groups:
            group["lr"] = learning_rate
        device, num_micro = self.world.device, self.num_micro * self.world.size
        num_scored = self.world.sum((batch.targets_BT != IGNORED).sum().to(device))
        weight = (num_micro / num_scored).float()  # DeepSpeed takes the mean over micro-batches and ranks
        total = torch.zeros((), dtype=torch.float64, device=device)
        for index in range(self.num_micro):
            rows = slice(index * self.micro, (index + 1) * self.micro)
            inputs_BT, targets_BT, documents_BT = (None if t is None else t[rows].to(device) for t in batch)
            loss = self._deepspeed(inputs_BT, targets_BT, "sum", documents_BT) * weight
            total += loss.detach()
            self._deepspeed.backward(loss)
            if index < self.num_micro - 1:
                self._deepspeed.step()
        mean = float(self.world.sum(total)) / num_micro
        if not math.isfinite(mean):
            raise TrainingError(
                f"step {step}: the loss is {mean}; try a lower pretrain.learning_rate or longer warm-up"
            )
        norm = self._last_step()
        if not math.isfinite(norm):
            raise TrainingError(f"step {step}: the gradient norm is {norm}, with a loss of {mean:.4f}")
        return Taken(mean, norm, int(num_scored))

    def autocast(self) -> torch.autocast:
        """The number format of the forward pass, for measurements outside a step."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.optimization.precision == "bf16")

    def state(self) -> dict[str, Tensor]:
        """fp32 weights and moments by parameter name, on the CPU, whole on every rank."""
        found = {}
        for name, parameter in self.network.named_parameters():
            found[f"weights/{name}"] = _copy(self._weights(parameter))
            for moment in MOMENTS:
                found[f"{moment}/{name}"] = _copy(self._moment(parameter, moment))
        return found

    def restore(self, state: State, step: int) -> None:
        """Go on from a state that was taken after `step` steps."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for state_of in self._adam.state.values():
            state_of["step"].fill_(step)
        for name, parameter in self.network.named_parameters():
            weights = state[f"weights/{name}"].to(self.world.device)
            parameter.data.copy_(weights)
            safe_set_full_fp32_param(parameter, weights)
            for moment in MOMENTS:
                value = state[f"{moment}/{name}"].to(self.world.device)
                if self._sharded:
                    safe_set_full_optimizer_state(parameter, value, moment)
                else:
                    self._deepspeed.optimizer.state[parameter][moment].copy_(value)

    @property
    def _sharded(self) -> bool:
        return self.optimization.zero_stage > 0

    def _last_step(self) -> float:
        if self._sharded:
            self._deepspeed.step()
            return float(self._deepspeed.get_global_grad_norm())
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))  # the engine keeps none for stage 0
        if math.isfinite(norm):
            self._deepspeed.step()
        return norm

    def _weights(self, parameter: Tensor) -> Tensor:
        from deepspeed.utils import safe_get_full_fp32_param

        whole: Tensor = safe_get_full_fp32_param(parameter) if self._sharded else parameter
        return whole

    def _moment(self, parameter: Tensor, moment: str) -> Tensor:
        from deepspeed.utils import safe_get_full_optimizer_state

        if self._sharded:
            whole: Tensor = safe_get_full_optimizer_state(parameter, moment)
            return whole
        state: Tensor = self._deepspeed.optimizer.state[parameter][moment]
        return state

    @property
    def _adam(self) -> torch.optim.Optimizer:
        optimizer = self._deepspeed.optimizer
        adam: torch.optim.Optimizer = optimizer.optimizer if self._sharded else optimizer
        return adam

    def _make_moments(self) -> None:
        """Make AdamW's state, zero as its first step would make it.

        A resumed run needs it before that step; and ZeRO links parameters to their state when the first group has
        stepped, when the second has none yet, and never again.
        """
        for parameter in (p for group in self._adam.param_groups for p in group["params"]):
            state: dict[str, Tensor] = {moment: torch.zeros_like(parameter.data) for moment in MOMENTS}
            self._adam.state[parameter] = {"step": torch.zeros((), device=self.world.device), **state}
        if self._sharded:
            self._deepspeed.optimizer._lazy_init_hp_params_optimizer_state()  # noqa: SLF001 - no public call links

    def _config(self) -> dict[str, Any]:
        wanted = self.optimization
        adam = {"lr": 0.0, "betas": BETAS, "eps": EPSILON, "torch_adam": True, "fused": True}
        autocast = {"enabled": wanted.precision == "bf16", "dtype": "bfloat16", "lower_precision_safe_modules": []}
        return {
            "train_batch_size": wanted.batch_sequences,
            "train_micro_batch_size_per_gpu": self.micro,
            "gradient_accumulation_steps": self.num_micro,
            "optimizer": {"type": "AdamW", "params": adam},
            "gradient_clipping": wanted.max_gradient_norm,
            "zero_optimization": {"stage": wanted.zero_stage},
            "torch_autocast": autocast,  # no module "safe": gradients are added up in fp32
            "steps_per_print": 1 << 62,
        }


def _deepspeed_engine(network: Network, wanted: Optimization, config: dict[str, Any], world: World) -> Any:
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if world.device.type == "cpu":
        # An optional collective that is compiled at first use, for two minutes, under a lock that a kill leaves behind.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=torch.distributed.get_backend(), auto_mpi_discovery=False, verbose=False)
    groups = parameter_groups(network, wanted.weight_decay)
    engine, *_ = deepspeed.initialize(
        model=network.to(world.device), model_parameters=groups, config=config, dist_init_required=False
    )
    return engine


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
