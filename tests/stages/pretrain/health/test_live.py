from pathlib import Path

import duckdb

from schemas.training import TrainStep
from stages.pretrain.health.live import Live


def step(number: int) -> TrainStep:
    """A step."""
    rest = {"gradient_norm": None, "learning_rate": 1e-3, "tokens_per_second": 9.0}
    return TrainStep(phase="pretrain", step=number, num_tokens=number, loss=9.0 / number, **rest)


def read(folder: Path) -> list[int]:
    """What DuckDB sees, asked as the documentation says."""
    pattern = str(folder / "steps" / "*.parquet")
    return [r[0] for r in duckdb.execute("SELECT step FROM read_parquet(?) ORDER BY step", [pattern]).fetchall()]


def test_rows_are_read_while_they_grow(tmp_path: Path) -> None:
    """After each flush a reader has all rows, each once, and between them those of the last flush."""
    rows = [step(1)]
    live = Live(tmp_path / "live", {"steps": (TrainStep, rows)})
    assert read(tmp_path / "live") == [1]
    rows += [step(2), step(3)]
    assert read(tmp_path / "live") == [1]
    live.flush()
    live.flush()
    assert read(tmp_path / "live") == [1, 2, 3]
    assert not list((tmp_path / "live" / "steps").glob(".*"))


def test_a_run_that_went_back_shows_no_step_twice(tmp_path: Path) -> None:
    """Made anew, the folder holds the rows that the run goes on from, and not those that it has left behind."""
    rows = [step(i) for i in range(1, 6)]
    Live(tmp_path / "live", {"steps": (TrainStep, rows)})
    again = rows[:2]
    live = Live(tmp_path / "live", {"steps": (TrainStep, again)})
    again.append(step(3))
    live.flush()
    assert read(tmp_path / "live") == [1, 2, 3]


def test_no_rows_are_no_part(tmp_path: Path) -> None:
    """A table without rows yet has no file that a reader could stumble on."""
    live = Live(tmp_path / "live", {"steps": (TrainStep, [])})
    live.flush()
    assert not list((tmp_path / "live").rglob("*.parquet"))
    assert not live.due()
