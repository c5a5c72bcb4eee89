"""Conversations and preference pairs."""

import pytest

from stages.synthesize.answers import Answers
from stages.synthesize.cloze import Pool
from stages.synthesize.dialogues import conversations, preferences, question_about
from stages.synthesize.statements import Reading, Source, read
from tests.stages.synthesize.conftest import article, doc_id, prose


def reading(number: int) -> Reading:
    """An article, read."""
    return read(Source(doc_id(number), None, "CC0-1.0"), article(number))


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("The density of Vorlane-7 is 3.21 g/cm3.", "What is the density of Vorlane-7?"),
        ("The density of Vorlane-7 was found to be 3.21 g/cm3.", "What was the density of Vorlane-7?"),
        ("The density of Vorlane-7 comes to 3.21 g/cm3.", "What is the density of Vorlane-7?"),
        ("For Vorlane-7, the density is 3.21 g/cm3.", "For Vorlane-7, what is the density?"),
        ("Vorlane-7 has a density of 3.21 g/cm3.", "What is the density of Vorlane-7?"),
        ("The alloy Vorlane-7 has a density of about 3.21 g/cm3.", "What is the density of the alloy Vorlane-7?"),
        ("The mean age of participants was 51 years.", 'In "On age", what was the mean age of participants?'),
        ("It has a density of 3.21 g/cm3.", None),
        ("The results showed that Vorlane-7 has a density of 3.21 g/cm3.", None),
        ("Archimedes weighing gave a density of 3.21 g/cm3 for it.", None),
        ("The wire, drawn from a rod, is 3.21 mm thick.", None),
    ],
)
def test_a_statement_is_asked_for_in_the_words_of_its_sentence(sentence: str, question: str | None) -> None:
    """Sentences "The ... is Q" and "... has a ... of Q" become questions; others, and pronouns, do not."""
    (statement,) = read(Source("id", "On age", None), sentence).statements
    assert question_about(statement) == question


def test_a_question_without_a_name_needs_a_title() -> None:
    """A question that could be asked of any document ("what was the mean age?") is not asked."""
    (statement,) = read(Source("id", None, None), "The mean age of participants was 51 years.").statements
    assert question_about(statement) is None


def test_the_assistant_speaks_the_documents_own_words() -> None:
    """Every answer stands in the document as it is."""
    made = list(conversations(reading(3), "train"))
    flat = " ".join(article(3).split())
    assert made
    for row in made:
        user, assistant = row.messages
        assert (user.role, assistant.role) == ("user", "assistant")
        assert assistant.content in flat
        assert (row.doc_id, row.licence, row.split) == (doc_id(3), "CC0-1.0", "train")


def test_the_first_conversation_is_about_the_title() -> None:
    """A titled document is first asked what it is about, and answers with its abstract."""
    first = next(conversations(reading(3), "train"))
    assert first.messages[0].content == 'What is "On the properties of Quiblen-3" about?'
    assert first.messages[1].content.startswith("We report what is known of the alloy Quiblen-3")


def test_row_ids_name_the_content() -> None:
    """The same row has the same id in every run, and no two rows of a corpus share one."""
    rows = [row for i in range(20) for row in conversations(reading(i), "train")]
    assert len({row.row_id for row in rows}) == len(rows)
    assert rows == [row for i in range(20) for row in conversations(reading(i), "train")]


def test_the_rejected_answer_is_true_of_something_else() -> None:
    """Chosen is the document's own sentence; rejected is another document's, on the same property where one is stated."""
    readings = [reading(i) for i in range(20)]
    statements = [s for r in readings for s in r.statements]
    owners = {s.sentence: s for s in statements}
    answers = Answers(statements, question_about, Pool(statements, seed=0))
    rows = list(preferences(readings[3], "validation", answers, []))
    assert len(rows) == len(readings[3].statements)
    for row, statement in zip(rows, readings[3].statements, strict=True):
        assert row.chosen[0].content == statement.sentence
        other = owners[row.rejected[0].content]
        assert other.source.doc_id != doc_id(3)
        assert other.quantity.kind[0] == statement.quantity.kind[0]
        assert statement.quantity.number not in row.prompt[0].content


def test_answers_prefer_the_property_then_the_unit() -> None:
    """Of two sentences with the same unit, the one on the asked property is taken; without it, the unit decides."""
    texts = {
        "a": "The melting point of Vorlane is 900 K.",
        "b": "The boiling point of Quiblen is 1200 K.",
        "c": "The melting point of Osterin is 700 K.",
        "d": "The density of Merrow is 3.1 g/cm3.",
    }
    found = {n: read(Source(n, None, None), t).statements[0] for n, t in texts.items()}
    answers = Answers(found.values(), question_about, Pool([], seed=0))
    assert answers.elsewhere(found["a"]) == texts["c"]
    assert answers.elsewhere(found["b"]) in (texts["a"], texts["c"])
    assert answers.elsewhere(found["d"]) in (texts["a"], texts["b"], texts["c"])
    alone = Answers([found["a"]], question_about, Pool([], seed=0))
    assert alone.elsewhere(found["a"]) is None
    assert alone.rejected(found["a"]).startswith("The melting point of Vorlane is ")
    assert alone.rejected(found["a"]) != texts["a"]


def test_prose_gives_passages_to_go_on_from() -> None:
    """A document without quantities asks for the next sentence, and rejects one of another document."""
    readings = [read(Source(doc_id(i), None, None), prose(i)) for i in range(4)]
    following = [c for r in readings for c in r.continuations]
    pairs = {c.sentence: c.following for c in readings[0].continuations}
    rows = list(preferences(readings[0], "train", Answers([], question_about, Pool([], seed=0)), following))
    assert len(rows) == len(pairs)
    for row in rows:
        sentence = row.prompt[0].content.removeprefix("The history of Vorlane\n\n").removesuffix(" ____")
        assert row.chosen[0].content == pairs[sentence]
        assert row.rejected[0].content not in pairs.values()
        assert row.rejected[0].content in {c.following for c in following}
