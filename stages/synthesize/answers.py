"""Answers to the wrong question: true sentences of other documents, on the same property where there are any.

A rejected answer was first the true sentence with another material's number. That cannot be learned from few documents:
the wrong number is true elsewhere, so training makes it likelier, and the held-out DPO loss rose (0.69 to 0.83, docs/log.md).
Whether an answer is about what was asked can be. A single document still has nothing but wrong numbers to offer.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from stages.synthesize.cloze import Pool
from stages.synthesize.quantities import digest
from stages.synthesize.statements import Statement

MAX_GROUP = 500  # statements kept of a kind
PROPERTY = re.compile(r"what (?:is|was|are|were) (?:the|an?) (.{2,60}?) (?:of|for) ", re.IGNORECASE)

Question = Callable[[Statement], str | None]
Key = tuple[str, ...]


class Answers:
    """Statements by what they are about, so that one on the same property of another document is found at once."""

    def __init__(self, statements: Iterable[Statement], question: Question, pool: Pool) -> None:
        self.pool, self.seed, self._question = pool, pool.seed, question
        groups: dict[Key, list[Statement]] = {}
        for statement in statements:
            for key in self._keys(statement):
                groups.setdefault(key, []).append(statement)
        self._groups: Mapping[Key, list[Statement]] = {
            key: sorted(group, key=lambda s: digest(pool.seed, s.source.doc_id, s.sentence))[:MAX_GROUP]
            for key, group in groups.items()
        }

    def rejected(self, statement: Statement) -> str:
        """What not to answer: `elsewhere`, or the statement with a wrong number where no other document says anything."""
        return self.elsewhere(statement) or _with_number(statement, self.pool.wrong(statement, 1)[0])

    def elsewhere(self, statement: Statement) -> str | None:
        """A sentence of another document: on the same property, else with the same unit, else any; None if alone."""
        for key in self._keys(statement):
            group = [s for s in self._groups.get(key, []) if s.source.doc_id != statement.source.doc_id]
            if group:
                return group[digest(self.seed, statement.source.doc_id, statement.sentence) % len(group)].sentence
        return None

    def _keys(self, statement: Statement) -> list[Key]:
        """What a statement is about, nearest first."""
        match = PROPERTY.search(self._question(statement) or "")
        unit, _ = statement.quantity.kind
        return [*([("property", match[1].lower())] if match else []), ("unit", unit), ("any",)]


def _with_number(statement: Statement, number: str) -> str:
    quantity, sentence = statement.quantity, statement.sentence
    return f"{sentence[: quantity.start]}{quantity.with_number(number)}{sentence[quantity.end :]}"
