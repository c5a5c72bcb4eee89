"""A recorded spike once more, at the weights that it was seen at: with its batch, without its suspects, and their documents."""

import math
from typing import Any

from schemas.manifest import Manifest
from stages.base import SettingsError
from stages.pretrain import Pretrain
from workflows.trace import answers
from workflows.trace.answers import Answer
from workflows.trace.training import Training

NEAR = 0.25  # of the excursion: a loss that is within it of the expected one is back


def replay(training: Training, step: int) -> Answer:
    """Replay the spike of a step; SettingsError where there is none, or no checkpoint of before it."""
    manifest = Manifest.read(training.folder)
    if manifest.stage != Pretrain.name or manifest.version != Pretrain.version:
        found, expected = f"{manifest.stage} {manifest.version}", f"{Pretrain.name} {Pretrain.version}"
        raise SettingsError(f"{training.folder}: replays are of {expected}, and this was made by {found}")
    from stages.pretrain.replay import replay as replay_step

    inputs = {name: training.tables[row] for name, row in Pretrain.inputs.items()}
    measured = replay_step(training.folder, Pretrain.parse(manifest.settings), inputs, step)
    event = [e for e in answers.spikes(training)["spikes"] if e["step"] == step][-1]
    rows = [
        _row("as the run saw it", event["loss"], event["gradient_norm"]),
        _row("as was expected", event["expected_loss"], event["expected_gradient_norm"]),
        _row("again, the whole batch", *measured.whole),
    ]
    if measured.without is not None:
        rows.append(_row("without the suspected sequences", *measured.without))
    rows += [_row(f"without sequence {number} only", *one) for number, one in measured.alone]
    if measured.healthy is not None:
        number, before, now = measured.healthy
        rows.append(_row(f"step {number}, healthy with loss {before:.4g}", now, None))
    return {**event, "checkpoint_step": measured.checkpoint_step, "measured": rows, "finding": _finding(event, rows)}


def _row(what: str, loss: float, gradient_norm: float | None) -> dict[str, Any]:
    return {"what": what, "loss": loss, "gradient_norm": gradient_norm}


def _finding(event: Answer, rows: list[dict[str, Any]]) -> str:
    """What the numbers say, by the signal that raised the alarm."""
    name = "gradient_norm" if event["signal"] == "gradient norm" else "loss"
    named = {row["what"]: row[name] for row in rows}
    seen, expected = event[name], named["as was expected"]
    if not _near(named["again, the whole batch"], seen, abs(seen - expected)):
        return "it does not come back: neither batch nor weights are to blame, but hardware, or a fault that is mended"
    if "without the suspected sequences" not in named:
        return "it comes back; no part of the batch is suspected alone"
    if _near(named["without the suspected sequences"], expected, abs(seen - expected)):
        return f"it comes back, and without the suspected sequences the {event['signal']} is as expected: they are to blame"
    return "it comes back, and stays without the suspected sequences: they are not to blame alone"


def _near(value: float, target: float, excursion: float) -> bool:
    """Whether a value is at the target; where these are not finite, whether both are not."""
    if not (math.isfinite(value) and math.isfinite(target) and math.isfinite(excursion)):
        return math.isfinite(value) == math.isfinite(target)
    return abs(value - target) <= NEAR * excursion
