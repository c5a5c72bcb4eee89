"""Where to start again after a spike: the newest checkpoint of before its onset that is healthy when it is loaded.

The onset is read off the loss, and a broken moment shows in the loss a step later than in the checkpoint. So a checkpoint is
not trusted for its step alone: its tensors must hold no impossible number, and the last healthy step before it must have
about the loss that it had.
"""

from collections.abc import Callable, Iterable

from stages.pretrain.health.detect import Detector, Verdict
from stages.pretrain.health.diagnose import Trial, gone, reference


def restart(
    trial: Trial, steps: Iterable[int], onset: int, history: tuple[Detector, Verdict], load: Callable[[int], None]
) -> int | None:
    """Load checkpoints of the steps before `onset`, newest first, until one is healthy; its step, or None if none is.

    `load` puts the weights and the optimizer to the state after a step; `history` is the detector's, with the alarm.
    """
    detector, verdict = history
    for step in sorted((s for s in steps if s < onset), reverse=True):
        load(step)
        if trial.impossible() is None and _as_it_was(trial, step, detector, verdict):
            return step
    return None


def _as_it_was(trial: Trial, step: int, detector: Detector, verdict: Verdict) -> bool:
    healthy = reference(detector, step + 1)
    return healthy is None or not gone(trial.measured(healthy.step).loss, healthy, verdict)
