"""A recorded spike once more: the run from a checkpoint of before it up to its step, and that step with and without its suspects.

The steps between are taken as the run took them: what it had skipped, clipped or left out by then is skipped, clipped and
left out again. On as many threads and ranks as then, the weights are to the bit those at which the spike was seen. One process, whatever the run
had; nothing of the run is changed. What it gives up: a loss that does not come back is the hardware's or that of another order of adding up.
"""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from schemas.health import SpikeEvent
from schemas.training import TrainStep
from stages.base import SettingsError
from stages.model.distributed import joined
from stages.pretrain import Pretrain
from stages.pretrain.data import Step
from stages.pretrain.health.diagnose import Measured
from stages.pretrain.health.trial import RunTrial, omitted
from stages.pretrain.train import Run, open_run
from stages.tables import Outputs, Reader

MAX_ALONE = 8  # sequences that are left out one by one
KEPT = frozenset({"compile"})  # of what says how work is spread, what changes a single process's bits
HERE = {name: Pretrain.model_fields[name].default for name in Pretrain.located - KEPT}


class Replay(NamedTuple):
    """What a step measures at the weights before its update. Sequences count from 1, as in the event.

    `alone` is the step without one suspect at a time, `healthy` the last step before the onset: its number, its loss when it
    was trained on, and its loss now.
    """

    checkpoint_step: int
    whole: Measured
    without: Measured | None
    alone: list[tuple[int, Measured]]
    healthy: tuple[int, float, float] | None


def replay(folder: Path, settings: Pretrain, inputs: Mapping[str, Reader], step: int) -> Replay:
    """Replay the last spike that was recorded at `step` by the run in `folder`; SettingsError says why it cannot be."""
    events = list(Reader(folder / "spikes", SpikeEvent).rows())
    number = _find(events, step)
    settings = settings.model_copy(update=HERE)
    with tempfile.TemporaryDirectory() as scratch, joined() as world:
        outputs = Outputs(Path(scratch), Pretrain.outputs, (0, 1))
        outputs.folder = folder
        run = open_run(settings, inputs, outputs, world)
        try:
            start = _checkpoint(run, events[number:])
            steps = list(Reader(folder / "steps", TrainStep).rows())
            _go_to(run, start, (steps, events[:number]), step)
            return _measured(run, start, steps, events[number])
        finally:
            outputs.abort()


def _find(events: Sequence[SpikeEvent], step: int) -> int:
    found = [i for i, event in enumerate(events) if event.step == step]
    if not found:
        known = ", ".join(str(s) for s in sorted({e.step for e in events})) or "none"
        raise SettingsError(f"--step {step}: no spike was recorded at this step; spikes were at: {known}")
    return found[-1]


def _checkpoint(run: Run, events: Sequence[SpikeEvent]) -> int:
    """The newest checkpoint of before the first event, and of before whatever the run took back from then on."""
    limit = min([events[0].step - 1, *(e.restart_step for e in events if e.restart_step is not None)])
    complete = run.checkpoints.complete()
    usable = [marker for _, marker in complete if marker.step <= limit]
    if not usable:
        there = ", ".join(str(marker.step) for _, marker in complete) or "none"
        words = f"step {events[0].step} is replayed from a checkpoint of step {limit} or before; in {run.checkpoints.folder} there are: {there}"
        raise SettingsError(f"{words}; to keep more from now on: pretrain.keep_every=N or pretrain.keep_checkpoints=N")
    theirs, ours = usable[-1].run, run.identity()
    if other := sorted(k for k in theirs.keys() | ours.keys() if theirs.get(k) != ours.get(k)):
        words = f"the checkpoint of step {usable[-1].step} is of another run or version of pretrain"
        raise SettingsError(f"{words}: {', '.join(other)} differ; put back what it read, or run it again")
    return usable[-1].step


def _go_to(run: Run, start: int, recorded: tuple[Sequence[TrainStep], Sequence[SpikeEvent]], step: int) -> None:
    """Load the checkpoint of `start`, then take all steps before `step` as they were taken."""
    steps, events = recorded
    run.guard.policy = replace(run.guard.policy, on_spike="off", monitor_every=0)
    run.guard.resumed([s for s in steps if s.step <= start], events)
    run.load(start)
    done = {e.step: e for e in events if e.action != "rollback"}
    with contextlib.closing(run.data.steps(start + 1, mask_documents=run.settings.mask_documents)) as batches:
        for one in batches:
            if one.number == step:
                return
            _take(run, one, done.get(one.number))


def _take(run: Run, step: Step, event: SpikeEvent | None) -> None:
    if event is None:
        run.take(step)
    elif event.action == "clip":
        out = run.guard.left_out.get(step.number, set())
        run.engine.measure(omitted(step.batch, out, 0), step.number)
        run.engine.apply(run.schedule.rate(step.number), run.guard.clip_norm(event.expected_gradient_norm))


def _measured(run: Run, start: int, steps: Sequence[TrainStep], event: SpikeEvent) -> Replay:
    trial = RunTrial(run.engine, run.data, run.guard.left_out, mask_documents=run.settings.mask_documents)
    suspects = sorted({s.sequence for s in event.suspects if s.step == event.step})
    rest = len(suspects) < run.order.batch_sequences
    unlike = run.guard.unlearned()
    healthy = next((s for s in reversed(steps) if s.step < event.onset and s.step not in unlike), None)
    return Replay(
        checkpoint_step=start,
        whole=trial.measured(event.step),
        without=trial.measured(event.step, without=[s - 1 for s in suspects]) if suspects and rest else None,
        alone=[(s, trial.measured(event.step, without=[s - 1])) for s in suspects[:MAX_ALONE] if len(suspects) > 1],
        healthy=(healthy.step, healthy.loss, trial.measured(healthy.step).loss) if healthy else None,
    )
