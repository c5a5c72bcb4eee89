"""Our measurements against formulas in float64, computed one token at a time, and against TRL's own evaluation."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from stages.posttrain.chat import chat_tokenizer
from stages.posttrain.held_out import Labelled, Pairs, log_probs, loss_per_token, pair_log_probs, preference_values
from stages.posttrain.rows import conversation_examples, preference_examples
from stages.posttrain.train import pairs
from tests.stages.posttrain import tiny

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing:FutureWarning"
)  # TRL 1.16 on transformers 5.23
QUIET = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
    "max_length": None,
    "dataloader_pin_memory": False,
}
BETA = 0.3


@pytest.fixture(scope="module")
def words(base: Path) -> Any:
    """The tokenizer with its chat template."""
    return chat_tokenizer(base)


@pytest.fixture(scope="module")
def models(words: Any) -> tuple[Any, Any]:
    """A policy, and a reference some way off."""
    policy, reference = tiny.network(words), tiny.network(words)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return policy.eval(), reference.eval()


def exact(model: Any, sequence: Labelled) -> tuple[float, int]:
    """Log-probability of the labelled tokens in float64 without padding or batches, and their number."""
    ids, labels = sequence
    double = tiny.network(range(model.config.vocab_size)).double().eval()
    double.load_state_dict(model.state_dict())
    with torch.no_grad():
        logits = double(input_ids=torch.tensor([ids])).logits[0]
    total, count = 0.0, 0
    for place in range(1, len(ids)):
        if labels[place] != -100:
            row = [float(v) for v in logits[place - 1]]
            peak = max(row)
            total += row[labels[place]] - peak - math.log(math.fsum(math.exp(v - peak) for v in row))
            count += 1
    return total, count


@pytest.fixture(scope="module")
def sft(words: Any, models: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """TRL's trainer on eight conversations of different lengths, all in one evaluation batch."""
    rows = Dataset.from_list(conversation_examples(tiny.conversations(48), words, 96).validation)
    args = SFTConfig(
        **QUIET, output_dir=str(tmp_path_factory.mktemp("sft")), assistant_only_loss=True, per_device_eval_batch_size=8
    )
    return SFTTrainer(model=models[0], args=args, train_dataset=rows, eval_dataset=rows, processing_class=words)


@pytest.fixture(scope="module")
def dpo(words: Any, models: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """TRL's trainer on six pairs, all in one evaluation batch."""
    rows = Dataset.from_list(preference_examples(tiny.preferences(36), words, 96).validation)
    args = DPOConfig(**QUIET, output_dir=str(tmp_path_factory.mktemp("dpo")), beta=BETA, per_device_eval_batch_size=8)
    return DPOTrainer(
        model=models[0], ref_model=models[1], args=args, train_dataset=rows, eval_dataset=rows, processing_class=words
    )


def labelled(trainer: Any) -> list[Labelled]:
    """The evaluation rows as our functions take them."""
    return [(r["input_ids"], r["labels"]) for r in trainer.eval_dataset]


def test_loss_is_the_formula(sft: Any, models: tuple[Any, Any]) -> None:
    """The held-out SFT loss is the mean of -log p over the assistant's tokens."""
    sequences = labelled(sft)
    sums = [exact(models[0], s) for s in sequences]
    expected = -sum(total for total, _ in sums) / sum(count for _, count in sums)
    assert loss_per_token(models[0], sequences, 4) == pytest.approx(expected, rel=1e-6)


def test_loss_is_the_evaluation_of_trl(sft: Any, models: tuple[Any, Any]) -> None:
    """On one batch TRL's evaluation gives the same loss."""
    assert sft.evaluate()["eval_loss"] == pytest.approx(loss_per_token(models[0], labelled(sft), 8), rel=1e-5)


def test_labels_are_the_answers(sft: Any, words: Any) -> None:
    """What TRL trains on are the answer's tokens with the end of the turn."""
    for row, source in zip(sft.eval_dataset, tiny.conversations(48)[5::6], strict=True):
        kept = [label for label in row["labels"] if label != -100]
        assert kept == words(source.messages[1].content + "<|end|>")["input_ids"]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_do_not_matter(batch_size: int, sft: Any, models: tuple[Any, Any]) -> None:
    """Padding and batch size change nothing but rounding."""
    sequences = labelled(sft)
    expected = torch.tensor([exact(models[0], s)[0] for s in sequences], dtype=torch.float64)
    torch.testing.assert_close(log_probs(models[0], sequences, batch_size), expected, rtol=1e-5, atol=1e-5)


def formula(models: tuple[Any, Any], rows: Pairs) -> list[float]:
    """The DPO margin of each pair in float64: beta times the difference of log-ratios."""
    ratios = [[exact(models[0], s)[0] - exact(models[1], s)[0] for s in side] for side in (rows.chosen, rows.rejected)]
    return [BETA * (chosen - rejected) for chosen, rejected in zip(*ratios, strict=True)]


def test_dpo_is_the_formula_and_the_evaluation_of_trl(dpo: Any, models: tuple[Any, Any]) -> None:
    """Loss, accuracy and margin: TRL's evaluation, ours, and -log sigmoid in float64 agree."""
    rows = pairs(dpo.eval_dataset)
    margins = formula(models, rows)
    loss = sum(math.log1p(math.exp(-m)) for m in margins) / len(margins)
    ours = preference_values(pair_log_probs(models[0], rows, 4), pair_log_probs(models[1], rows, 4), BETA)
    theirs = dpo.evaluate()
    assert theirs["eval_loss"] == pytest.approx(loss, rel=1e-5)
    assert ours["held-out loss"] == pytest.approx(loss, rel=1e-5)
    assert ours["preference margin"] == pytest.approx(sum(margins) / len(margins), abs=1e-5)
    assert ours["preference margin"] == pytest.approx(theirs["eval_rewards/margins"], abs=1e-5)
    assert ours["preference accuracy"] == pytest.approx(sum(m > 0 for m in margins) / len(margins))
    assert ours["preference accuracy"] == pytest.approx(theirs["eval_rewards/accuracies"])
    assert len({m > 0 for m in margins}) == 2  # or the accuracy would say nothing


def test_likelihood_accuracy_needs_no_reference(dpo: Any, models: tuple[Any, Any]) -> None:
    """The likelihood accuracy counts the pairs whose chosen answer the policy alone finds likelier."""
    rows = pairs(dpo.eval_dataset)
    likelier = [
        exact(models[0], c)[0] > exact(models[0], r)[0] for c, r in zip(rows.chosen, rows.rejected, strict=True)
    ]
    log_p = pair_log_probs(models[0], rows, 8)
    assert preference_values(log_p, log_p, BETA)["likelihood accuracy"] == sum(likelier) / len(likelier)


def test_before_training_every_pair_is_a_tie(dpo: Any, models: tuple[Any, Any]) -> None:
    """With policy and reference one, the loss is ln 2, the accuracy one half and the margin nothing."""
    log_p = pair_log_probs(models[0], pairs(dpo.eval_dataset), 8)
    values = preference_values(log_p, log_p, BETA)
    assert values["held-out loss"] == pytest.approx(math.log(2))
    assert (values["preference accuracy"], values["preference margin"]) == (0.5, 0.0)
