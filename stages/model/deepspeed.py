"""Training steps through DeepSpeed.

ZeRO (Rajbhandari et al. 2020) stage 0 keeps the optimizer's state on every rank, stage 1 shares it out, stage 2 gradients
too, stage 3 weights too. State is gathered by parameter, so a run goes on under another number of ranks, stage or engine.
What it gives up against the native engine: all layouts but data ranks, and checkpoints of state that no rank holds whole.
"""

import logging
import math
from typing import Any

import torch
from torch import Tensor

from stages.base import SettingsError
from stages.model.engine import Batch, Engine, Optimization, State, Taken
from stages.model.network import Network
from stages.model.optimizers import make_optimizer, optimizer_groups
from stages.model.optimizers.sophia import Curvature, Sophia
from stages.model.parallelize import Layout, Parallelism
from stages.model.pieces import Piece


class DeepSpeedEngine(Engine):
    """DeepSpeed behind the interface of an engine."""

    def __init__(self, network: Network, optimization: Optimization, layout: Layout) -> None:
        if layout.parallelism != Parallelism(zero_stage=layout.parallelism.zero_stage):
            raise SettingsError("pretrain: engine deepspeed has data ranks only (ZeRO): set pretrain.engine=native")
        super().__init__(network, optimization, layout)
        groups = optimizer_groups(optimization.optimizer, network.to(self.world.device), optimization.weight_decay)
        self._optimizer = make_optimizer(optimization.optimizer, groups)
        self._curvature: Curvature | None = None
        self._deepspeed = self._initialised()
        if self._sharded:
            self._link_shards()

    def measure(self, batch: Batch, step: int) -> Taken:  # noqa: ARG002 - the interface
        """Loss and gradient of a batch, ready to be applied; the weights stay. Neither need be finite."""
        self._curvature = self.estimate(self._optimizer, batch)
        device, num_micro, num_scored = self.world.device, self.num_micro(batch), self.num_scored(batch)
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
        if isinstance(self._optimizer, Sophia) and self._curvature is not None:
            self._optimizer.take(self._curvature)
        self._deepspeed.step()

    def discard(self) -> None:
        """Forget the measured gradient."""
        self._deepspeed.micro_steps = 0
        self._deepspeed.optimizer.zero_grad()
        if self._sharded:
            self._deepspeed.optimizer.averaged_gradients.clear()

    def state(self) -> State:
        """Whole tensors on every rank, gathered."""
        found = {}
        for name, parameter in self.network.named_parameters():
            found[f"weights/{name}"] = Piece.whole(_copy(self._weights(parameter)))
            for key in self._keys(parameter):
                found[f"{key}/{name}"] = Piece.whole(_copy(self._state(parameter, key)))
        return found

    def restore(self, state: State, step: int) -> None:
        """Go on from `self.state()`, whose tensors were filled with those of after `step` steps."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        for state_of in self._optimizer.state.values():
            state_of["step"].fill_(step)
        for name, parameter in self.network.named_parameters():
            weights = state[f"weights/{name}"].local.to(self.world.device)
            self._set_computed(parameter, weights)
            safe_set_full_fp32_param(parameter, weights)
            for key in self._keys(parameter):
                value = state[f"{key}/{name}"].local.to(self.world.device)
                if self._sharded:
                    safe_set_full_optimizer_state(parameter, value, key)
                else:
                    self._optimizer.state[parameter][key].copy_(value)

    @property
    def _sharded(self) -> bool:
        return self.layout.parallelism.zero_stage > 0

    @property
    def _scattered(self) -> bool:
        return self.layout.parallelism.zero_stage == 3

    def _set_computed(self, parameter: Tensor, weights: Tensor) -> None:
        """Set the weights that the forward pass reads, beside those that the optimizer changes."""
        import deepspeed

        if self._scattered:
            with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                parameter.data.copy_(weights)
        else:
            parameter.data.copy_(weights)

    def _gradient_norm(self) -> float:
        if self._scattered:
            own = [g for group in self._deepspeed.optimizer.averaged_gradients.values() for g in group]
            square = torch.nn.utils.get_total_norm(own).double().square()
            return float(self.world.sum(square).sqrt())
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
        if self._scattered:
            self._optimizer.state.clear()
            zero = self._deepspeed.optimizer
            for index, shard in enumerate(zero.fp32_partitioned_groups_flat):
                group = self._optimizer.param_groups[zero.sub_group_to_group_id[index]]
                self._optimizer.add_state(shard, group)
            return
        self._optimizer.start()
        self._deepspeed.optimizer._lazy_init_hp_params_optimizer_state()  # noqa: SLF001 - no public call links

    def _config(self) -> dict[str, Any]:
        wanted = self.optimization
        autocast = {"enabled": wanted.precision == "bf16", "dtype": "bfloat16", "lower_precision_safe_modules": []}
        return {
            "train_micro_batch_size_per_gpu": self.micro,
            "gradient_accumulation_steps": 1,  # `measure` says where an update's gradients end
            "gradient_clipping": wanted.max_gradient_norm,
            "zero_optimization": {"stage": self.layout.parallelism.zero_stage},
            "zero_allow_untested_optimizer": True,  # only those of `SHARDED`
            "torch_autocast": autocast,  # no module "safe": gradients are added up in fp32
            "steps_per_print": 1 << 62,
        }

    def _initialised(self) -> Any:
        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        if self.world.device.type == "cpu":
            # An optional collective, compiled at first use, for two minutes, under a lock that a kill leaves behind.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        backend = torch.distributed.get_backend()
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
        engine, *_ = deepspeed.initialize(
            model=self.network, optimizer=self._optimizer, config=self._config(), dist_init_required=False
        )
        return engine


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
