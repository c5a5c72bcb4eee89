"""Optimizers with a rule of their own for hidden matrices, one at a time, and AdamW for embeddings, head and norms."""

from abc import abstractmethod

from torch import Tensor

from stages.model.optimizers.adamw import AdamW, Group, ParameterState


class MatrixOptimizer(AdamW):
    """Groups with `matrices` follow `matrix_step`, the others AdamW."""

    def first_state(self, weights: Tensor, group: Group) -> ParameterState:
        """That of the group's rule."""
        return self.matrix_state(weights) if group["matrices"] else super().first_state(weights, group)

    def group_step(self, parameters: list[Tensor], group: Group) -> None:
        """Change these parameters by the group's rule."""
        if not group["matrices"]:
            super().group_step(parameters, group)
            return
        for parameter in parameters:
            self.state[parameter]["step"] += 1
            self.matrix_step(parameter, self.state[parameter], group)

    @abstractmethod
    def matrix_state(self, weights_MN: Tensor) -> ParameterState:
        """What a hidden matrix has beside its count of steps, before the first one."""

    @abstractmethod
    def matrix_step(self, parameter_MN: Tensor, state: ParameterState, group: Group) -> None:
        """Change one hidden matrix that has a gradient; `state["step"]` counts this step already."""
