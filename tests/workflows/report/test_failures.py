"""The section on attempts that failed."""

from pathlib import Path

from stages.sketch import Sketch
from tests.workflows.report.fake_run import HOSTILE, FakeRun
from workflows.failures.record import Failure, append
from workflows.report.page import render

FAILURE = Failure(
    task="sketch 1/4",
    attempt=2,
    kind="out-of-memory",
    why=HOSTILE,
    deed="stopped",
    did="stopped after 4 attempt(s)",
    code=137,
    reached=7,
    time="2026-11-25T09:31:00+00:00",
    log="run.txt",
)


def test_failures_are_a_section(done_run: FakeRun, tmp_path: Path) -> None:
    """Attempts that failed are listed with class, reason and deed; a stage given up says so at the top; text stays text."""
    run = FakeRun(tmp_path)
    node = run.node(Sketch(), "sketch")
    append(node.path / "log", FAILURE)
    text = render(run.nodes, "t")
    for words in ("What failed, why, and what was done", "sketch 1/4", "out of memory", "stopped after 4 attempt(s)"):
        assert words in text
    assert ", failed: <code" in text
    assert "2026-11-25 09:31 UTC" in text
    assert "<script" not in text
    assert "failures-title" not in render(done_run.nodes, "t")


def test_a_failure_that_was_mended_stays_in_the_list(tmp_path: Path) -> None:
    """A stage that ended well after a failure is done, and the page still says what had happened."""
    run = FakeRun(tmp_path)
    node = run.node(Sketch(), "sketch")
    append(node.path / "log", FAILURE.model_copy(update={"deed": "halved", "did": "started again with workers / 2"}))
    run.finish(node, 1.0, sketches=[])
    text = render(run.nodes, "t")
    assert "All 1 stages are done." in text
    assert "started again with workers / 2" in text
