"""`parsl trace --spikes`: from a spike to its sequences, and from these to their documents."""

import json
from pathlib import Path

import pytest

from schemas.health import SpikeEvent, Suspect
from schemas.manifest import Manifest
from tests.tables import write_table
from tests.workflows.trace.life import tokenized, trained
from workflows.__main__ import main


def event(*sequences: int) -> SpikeEvent:
    """A spike of step 7 that is laid on these sequences."""
    suspects = [
        Suspect(step=7, sequence=s, source="notes", dataset_sample=1, loss=9.0, left_out=True) for s in sequences
    ]
    rest = SpikeEvent.sample(1)[0].model_dump(exclude={"suspects"})
    changes = {"step": 7, "onset": 7, "cause": "data", "evidence": "unlike", "action": "rollback", "restart_step": 4}
    return SpikeEvent.model_validate(rest | changes | {"suspects": suspects})


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps with two spikes."""
    root = tmp_path_factory.mktemp("life") / "root"
    out = trained(tokenized(root), root / "train")
    made = Manifest.read(out)
    write_table(out, SpikeEvent, [event(2, 5), event()], "spikes")
    outputs = made.outputs | Manifest.read(out).outputs
    made.model_copy(update={"outputs": outputs}).write(out)
    return out


def said(train: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints."""
    with pytest.raises(SystemExit) as ended:
        main(["trace", "--run", str(train), *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_documents_are_those_of_the_sequences(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A spike's documents are the ones that `--step N --sample K` names for each of its sequences, and no others."""
    first, second = json.loads(said(train, capsys, "--spikes", "--json"))["spikes"]
    expected = set()
    for sequence in ("2", "5"):
        sample = json.loads(said(train, capsys, "--step", "7", "--sample", sequence, "--json"))
        expected |= {d["doc_id"] for d in sample["documents"]}
    assert {d["doc_id"] for d in first["documents"]} == expected
    assert all(d["title"] for d in first["documents"])
    assert second["documents"] == []


def test_a_person_reads_cause_and_titles(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The words name step, class, what was done, the sequences and the papers."""
    words = said(train, capsys, "--spikes")
    assert "2 spikes in 40 steps" in words
    assert "class data: unlike; done: rollback to step 4" in words
    assert "Paper " in words


def test_a_run_of_before_there_were_spikes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training without the table has none."""
    out = trained(tokenized(tmp_path / "root"), tmp_path / "root" / "train", num_steps=3)
    assert "0 spikes in 3 steps" in said(out, capsys, "--spikes")
