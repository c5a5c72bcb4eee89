"""Which stretch holds which item, and how."""

from pathlib import Path

import pytest

from schemas.evaluation import BenchmarkItem
from stages.base import SettingsError
from stages.decontaminate import Decontaminate
from stages.decontaminate.decide import MOST, Judge, letters_of
from stages.decontaminate.search import Search
from stages.embed import WHEEL
from tests.stages.decontaminate.conftest import FILLER, QUESTIONS
from tests.stages.embed.models import needs_wheel

NAMES = list(QUESTIONS)


def judge(items: list[BenchmarkItem], name: str, stretch: str, cosine: float | None = None) -> str | None:
    """The tier of one item in a stretch."""
    ask = None if cosine is None else lambda _a, _b: cosine
    verdict = Judge(items, 0.46, 0.8, ask)(NAMES.index(name), stretch)
    return verdict.tier if verdict else None


DUCKS = QUESTIONS["ducks"][0]
REWORDED = DUCKS.replace("keeps", "owns").replace("each morning", "every day").replace("How much money", "What amount")
HALF = "A farmer keeps 16 ducks and sells the eggs at the market. How much does the man earn if he eats four himself?"  # 0.38


@pytest.mark.parametrize(
    ("stretch", "tier"),
    [
        (f"Question 7. {DUCKS} (a)", "verbatim"),
        (DUCKS.replace(" ", "\n"), "verbatim"),
        (DUCKS.rstrip("?"), "verbatim"),
        (DUCKS.replace("l", "1").replace("o", "0").replace("m", "rn"), "folded"),
        (DUCKS.replace("market", "mar-\nket"), "folded"),
        (DUCKS.replace("16", "23").replace("3", "5"), "masked"),
        (REWORDED, "reworded"),
        (FILLER, None),
        ("", None),
    ],
)
def test_tiers(items: list[BenchmarkItem], stretch: str, tier: str | None) -> None:
    """Each damage has its name, and innocent text none."""
    assert judge(items, "ducks", stretch) == tier


def test_a_near_miss_needs_its_answer(items: list[BenchmarkItem]) -> None:
    """A stretch that is somewhat short of letters counts if the answer stands in it."""
    strict = Judge(items, 0.40, 0.8, None)  # asks 0.503 of the ducks; the half has 0.38, with its answer 0.43
    assert strict(NAMES.index("ducks"), HALF) is None
    found = strict(NAMES.index("ducks"), f"{HALF} He earns 49 dollars a week.")
    assert found is not None
    assert found.tier == "answered"


def test_meaning_is_asked_last(items: list[BenchmarkItem]) -> None:
    """Short of letters, the embedding decides; with no letters in common it is not even asked."""
    assert judge(items, "ducks", HALF) is None
    assert judge(items, "ducks", HALF, cosine=0.9) == "semantic"
    assert judge(items, "ducks", HALF, cosine=0.7) is None
    assert judge(items, "ducks", "Quite other words, about hills.", cosine=1.0) is None


@needs_wheel
def test_real_weights_find_a_rewording(items: list[BenchmarkItem]) -> None:
    """With the embeddings of a real model, half an item in other words is that item, and other questions on ducks are not."""
    search = Search(Decontaminate(embeddings=WHEEL, min_cosine=0.7), items)
    found = search.judge(NAMES.index("ducks"), HALF)
    assert found is not None
    assert found.tier == "semantic"
    assert 0.7 <= found.score <= 1
    other = "A farmer keeps 16 ducks. In the morning the farmer and the dog drive them to the market of the village for two days."
    assert search.judge(NAMES.index("ducks"), other) is None
    assert Decontaminate(embeddings=WHEEL).external() != Decontaminate().external() == ""


def test_a_model_that_is_not_there_is_named(items: list[BenchmarkItem], tmp_path: Path) -> None:
    """An empty folder is refused by the name of the setting, when planning as when working."""
    stage = Decontaminate(embeddings=str(tmp_path))
    for ask in (stage.external, lambda: Search(stage, items)):
        with pytest.raises(SettingsError, match=r"decontaminate\.embeddings: .* has no model\.safetensors"):
            ask()


def test_short_items_need_more(items: list[BenchmarkItem]) -> None:
    """The fewer letters an item has, the more of them a stretch must have, up to MOST."""
    few = BenchmarkItem(
        benchmark="b", item_id="1", question="What is pyrite made of", choices=[], answer="iron", context=""
    )
    strict = Judge([few, *items], 0.46, 0.8, None)
    cut = "What is pyrite made from"
    have, all_of = set(grams(letters_of(cut))), set(grams(letters_of(f"{few.question}\n{few.answer}")))
    assert 0.46 < len(have & all_of) / len(all_of) < MOST
    assert strict(0, cut) is None


def grams(letters: str) -> list[str]:
    """Runs of four letters."""
    return [letters[i : i + 4] for i in range(len(letters) - 3)]


def test_letters_only() -> None:
    """Letters are folded and joined, numbers are one sign, all else is gone."""
    assert letters_of("Modem, 1,234.5 cl0cks — well-\nmade!") == letters_of("modern 7 clocks wellmade")
    assert letters_of("… — “ ”") == ""
