"""Multiple-choice questions by cloze: a sentence with its quantity blanked, and four quantities to fill it.

The three wrong ones stand in other documents with the same unit, written the same way; where there are too few, they
are the true one times fixed factors. A document without quantities asks which sentence comes next instead. The place
of the true choice is a hash, so it is uniform; nothing in the question tells the true number.
"""

from collections.abc import Iterable, Mapping, Sequence

from schemas.evaluation import BLANK, Question
from stages.synthesize.quantities import digest, value, wrong_numbers
from stages.synthesize.statements import Continuation, Source, Statement, holds_number

NUM_CHOICES = 4
MAX_POOL = 500  # numbers kept of a kind: more would not make better choices, only slower ones
Kind = tuple[str, str]


class Pool:
    """The numbers that a corpus states, by kind, and which document each is from."""

    def __init__(self, statements: Iterable[Statement], seed: int) -> None:
        found: dict[Kind, dict[str, set[str]]] = {}
        for s in statements:
            found.setdefault(s.quantity.kind, {}).setdefault(s.quantity.number, set()).add(s.source.doc_id)
        self.seed = seed
        self._numbers: Mapping[Kind, list[tuple[str, set[str]]]] = {
            kind: sorted(numbers.items(), key=lambda n: digest(seed, n[0]))[:MAX_POOL]
            for kind, numbers in found.items()
        }

    def wrong(self, statement: Statement, count: int, hidden_in: str = "") -> list[str]:
        """`count` numbers that are wrong in `statement`, from other documents first, none of which is in `hidden_in`."""
        numbers = self._numbers.get(statement.quantity.kind, [])
        mine = statement.source.doc_id
        others = [n for n, owners in numbers if owners != {mine} and not holds_number(hidden_in, n)]
        return wrong_numbers(statement.quantity, others, count, f"{self.seed}/{mine}/{statement.sentence}")


def blanked(statement: Statement) -> str:
    """The sentence with a blank for its quantity, after what helps to place it and does not tell the number.

    The document's title and the sentence before, that is, each left out if the number is in it.
    """
    quantity, sentence = statement.quantity, statement.sentence
    gap = f"{sentence[: quantity.start]}{BLANK}{sentence[quantity.end :]}"
    before = statement.before if _silent(statement.before, quantity.number) else ""
    title = statement.source.title or ""
    return with_title(title if _silent(title, quantity.number) else "", f"{before} {gap}".strip())


def with_title(title: str | None, text: str) -> str:
    """A text under its document's title, as a document begins."""
    return f"{title}\n\n{text}" if title else text


def ask(statement: Statement, pool: Pool) -> Question:
    """Make the question which quantity fills the blank."""
    question, quantity = blanked(statement), statement.quantity
    wrong = pool.wrong(statement, NUM_CHOICES - 1, question)
    return _question(statement.source, question, quantity.text, [quantity.with_number(n) for n in wrong], pool.seed)


def ask_next(continuation: Continuation, others: Sequence[Continuation], seed: int) -> Question | None:
    """Make the question which sentence comes next, of four that follow sentences; None if there are not so many."""
    wrong = other_followings(continuation, others, NUM_CHOICES - 1, seed)
    if len(wrong) < NUM_CHOICES - 1:
        return None
    question = with_title(continuation.source.title, f"{continuation.sentence} {BLANK}")
    return _question(continuation.source, question, continuation.following, wrong, seed)


def other_followings(true: Continuation, others: Sequence[Continuation], count: int, seed: int) -> list[str]:
    """`count` sentences that do not follow `true.sentence`, of other documents first, then by hash."""
    ranked = sorted(
        (o for o in others if o.following not in (true.sentence, true.following)),
        key=lambda o: (o.source.doc_id == true.source.doc_id, digest(seed, true.sentence, o.following)),
    )
    return list(dict.fromkeys(o.following for o in ranked))[:count]


def row_id(*parts: str) -> str:
    """A name for a row, made of its content."""
    return f"{digest(*parts):016x}"


def _silent(text: str, number: str) -> bool:
    """Whether a text does not tell a number, in this writing or as another with the same value ("3.20", "3.2")."""
    return not holds_number(text, number) and not holds_number(text, f"{value(number):g}")


def _question(source: Source, question: str, true: str, wrong: list[str], seed: int) -> Question:
    answer = digest(seed, "position", source.doc_id, question) % NUM_CHOICES
    choices = [*wrong[:answer], true, *wrong[answer:]]
    name = row_id("question", source.doc_id, question, *choices)
    return Question(
        row_id=name, question=question, choices=choices, answer=answer, doc_id=source.doc_id, licence=source.licence
    )
