"""Questions by cloze."""

from collections.abc import Iterator

import pytest

from schemas.evaluation import BLANK, Question
from stages.synthesize.cloze import MAX_POOL, Pool, ask, ask_next, blanked
from stages.synthesize.quantities import find_quantities, value
from stages.synthesize.statements import Continuation, Reading, Source, Statement, holds_number, read
from tests.stages.synthesize.conftest import article, doc_id, prose


@pytest.fixture
def readings() -> list[Reading]:
    """Twenty articles, read."""
    return [read(Source(doc_id(i), None, "CC0-1.0"), article(i)) for i in range(20)]


@pytest.fixture
def questions(readings: list[Reading]) -> list[tuple[Statement, Question]]:
    """Each statement with its question."""
    statements = [s for r in readings for s in r.statements]
    pool = Pool(statements, seed=0)
    return [(s, ask(s, pool)) for s in statements]


def test_the_answer_is_the_true_quantity(questions: list[tuple[Statement, Question]]) -> None:
    """The choice at `answer`, put in the blank, gives the document's sentence back."""
    for statement, question in questions:
        filled = question.question.replace(BLANK, question.choices[question.answer])
        assert filled.endswith(statement.sentence)
        assert question.question.count(BLANK) == 1


def test_no_question_tells_its_answer(questions: list[tuple[Statement, Question]]) -> None:
    """The true number stands nowhere in the question."""
    for statement, question in questions:
        assert not holds_number(question.question, statement.quantity.number)


def test_choices_differ_in_value_and_in_nothing_else(questions: list[tuple[Statement, Question]]) -> None:
    """Four choices, of four values, with the unit written the same way."""
    for statement, question in questions:
        parsed = [next(find_quantities(f"x {c}")) for c in question.choices]
        assert len({value(q.number) for q in parsed}) == 4
        assert {q.space + q.unit for q in parsed} == {statement.quantity.space + statement.quantity.unit}


def test_wrong_choices_stand_in_other_documents(
    questions: list[tuple[Statement, Question]], readings: list[Reading]
) -> None:
    """Where the corpus has enough values of a unit, all three wrong ones are stated by other documents."""
    stated = {(s.source.doc_id, s.quantity.text) for r in readings for s in r.statements}
    for statement, question in questions:
        wrong = [c for i, c in enumerate(question.choices) if i != question.answer]
        for choice in wrong:
            assert any(text == choice for doc, text in stated if doc != statement.source.doc_id)


def test_the_place_of_the_answer_is_uniform(questions: list[tuple[Statement, Question]]) -> None:
    """Over many questions each place has a quarter of the answers (chi-square under 16.3, p = 0.001)."""
    counts = [sum(q.answer == place for _, q in questions) for place in range(4)]
    expected = len(questions) / 4
    assert sum((c - expected) ** 2 / expected for c in counts) < 16.3


def test_another_seed_gives_other_questions(readings: list[Reading]) -> None:
    """The seed moves answers and choices; the same seed gives the same rows."""
    statements = [s for r in readings for s in r.statements]

    def made(seed: int) -> list[Question]:
        pool = Pool(statements, seed)
        return [ask(s, pool) for s in statements]

    assert made(0) == made(0)
    assert [q.answer for q in made(0)] != [q.answer for q in made(1)]


def test_the_title_and_the_sentence_before_place_the_question() -> None:
    """Both stand before the blank, unless they have the number."""
    text = "The wire was drawn from a rod. Its thickness is 3.20 mm after that step."
    (statement,) = read(Source("id", "On wires", None), text).statements
    gap = f"Its thickness is {BLANK} after that step."
    assert blanked(statement) == f"On wires\n\nThe wire was drawn from a rod. {gap}"
    telling = statement._replace(source=statement.source._replace(title="A wire of 3.2 mm"))
    assert blanked(telling) == f"The wire was drawn from a rod. {gap}"
    assert blanked(statement._replace(before="It had 3.20 mm before the last step.")) == f"On wires\n\n{gap}"


def test_a_single_document_gets_made_up_choices() -> None:
    """With nothing else in the corpus, wrong values are the true one changed."""
    (statement,) = read(Source("id", None, None), "The density of the alloy Ormel-2 is 3.21 g/cm3.").statements
    question = ask(statement, Pool([statement], seed=0))
    assert question.choices[question.answer] == "3.21 g/cm3"
    assert len(set(question.choices)) == 4


def test_a_pool_is_bounded() -> None:
    """However many numbers of a unit a corpus has, a fixed number of them is looked at."""

    def many() -> Iterator[Statement]:
        for i in range(3 * MAX_POOL):
            text = f"The density of the alloy Ormel-2 is {i + 1}.5 g/cm3."
            yield read(Source(f"id {i}", None, None), text).statements[0]

    pool = Pool(many(), seed=0)
    (numbers,) = pool._numbers.values()
    assert len(numbers) == MAX_POOL


def continuations() -> list[Continuation]:
    """Pairs of sentences of five documents."""
    return [c for i in range(5) for c in read(Source(doc_id(i), "A title", None), prose(i)).continuations]


def test_a_passage_question_asks_for_the_next_sentence() -> None:
    """The true choice is the sentence that follows; the wrong ones follow others, in other documents."""
    pairs = continuations()
    question = ask_next(pairs[0], pairs, seed=0)
    assert question is not None
    assert question.question == f"A title\n\n{pairs[0].sentence} {BLANK}"
    assert question.choices[question.answer] == pairs[0].following
    others = {c.following for c in pairs if c.source.doc_id != pairs[0].source.doc_id}
    wrong = [c for i, c in enumerate(question.choices) if i != question.answer]
    assert len(set(wrong)) == 3
    assert set(wrong) <= others - {pairs[0].following}


def test_no_passage_question_without_three_wrong_sentences() -> None:
    """Where too few sentences follow others, there is no question."""
    pairs = continuations()[:2]
    assert ask_next(pairs[0], pairs, seed=0) is None
