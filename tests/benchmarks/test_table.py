"""What all benchmarks share: turns, medians, ratios, the table and the file."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.table import Comparison, Options, interleaved, main, timed


def ask(monkeypatch: pytest.MonkeyPatch, rows: Iterable[Comparison], *words: str) -> list[Options]:
    """Run the command line of a benchmark of these rows; what it was asked for."""
    asked: list[Options] = []

    def run(options: Options) -> Iterable[Comparison]:
        asked.append(options)
        return rows

    monkeypatch.setattr("sys.argv", ["a", *words])
    main("a", run, ("one", "two"), plots=True)
    return asked


def test_both_sides_run_in_turn_and_the_first_turn_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and the peer's calls alternate; medians leave the first pair out and a slow one does not move them."""
    clock, calls = [0.0], list[str]()

    def work(name: str, times: list[float]) -> None:
        calls.append(name)
        clock[0] += times.pop(0)

    ours, theirs = [1000.0, 2, 4, 3, 90, 1], [2000.0, 7, 7, 8, 6, 500]
    monkeypatch.setattr(table.time, "perf_counter", lambda: clock[0])
    found = interleaved(lambda: work("ours", ours), lambda: work("theirs", theirs))
    assert found == (3, 7)
    assert calls == ["ours", "theirs"] * 6


def test_less_seconds_are_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio of seconds is the peer's over ours, above 1 where ours is faster."""
    monkeypatch.setattr(table, "interleaved", lambda *_: (2.0, 6.0))
    assert timed("w", "p", int, int, equal=True) == Comparison("w", "p", 2, 6, "s", 3, True)


def test_what_is_not_equal_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A comparison whose results differ, and one that was not made, cannot be taken for one that agreed."""
    rows = [Comparison(str(equal), "p", 1, 1, "s", 1, equal) for equal in (True, False, None)]
    ask(monkeypatch, rows)
    shown = capsys.readouterr().out
    assert [line.rpartition(", ")[2] for line in shown.splitlines()[:3]] == ["equal", "NOT EQUAL", "not compared"]
    last = [line.split()[-2] for line in shown.splitlines() if line.split()[1:2] in (["True"], ["False"], ["None"])]
    assert last == ["yes", "NO", "-"]


def test_options_are_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Parts come in the order of the command line, a part that there is not is refused."""
    words = ["--only", "two", "--only", "one", "--quick", "--plot", str(tmp_path / "a.png"), "--data", str(tmp_path)]
    assert ask(monkeypatch, [], *words) == [Options(True, tmp_path, ("two", "one"), tmp_path / "a.png")]
    assert ask(monkeypatch, []) == [Options(False, None)]
    with pytest.raises(SystemExit):
        ask(monkeypatch, [], "--only", "three")


def test_the_file_is_json_whatever_the_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A ratio over nothing, as of a rule that never alarms, leaves a file that any reader of JSON reads; JSON has no infinity."""
    rows = [Comparison("w", "p", 0, 2.5, "s", math.inf, None), Comparison("w", "p", math.nan, 1, "s", 1, True)]
    ask(monkeypatch, rows, "--json", str(tmp_path / "a.json"))
    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert found == [
        {"what": "w", "peer": "p", "ours": 0, "theirs": 2.5, "unit": "s", "ratio": None, "equal": None},
        {"what": "w", "peer": "p", "ours": None, "theirs": 1, "unit": "s", "ratio": 1, "equal": True},
    ]
