"""Conversations and preference pairs from statements, by fixed forms.

Three kinds of user turn: a question about the quantity ("What is the density of Vorlane-7?"), made where the sentence
reads "The ... is <quantity>" or "... has a ... of <quantity>"; the blanked sentence, to be completed; and "What is <title> about?". The assistant's
turn is always the document's own words, so nothing is said that no document says. A rejected answer is a sentence of
another document.
"""

import re
from collections.abc import Iterator, Sequence

from schemas.evaluation import BLANK
from schemas.tokens import Split
from schemas.training import Conversation, Message, Preference
from stages.synthesize.answers import Answers
from stages.synthesize.cloze import blanked, other_followings, row_id, with_title
from stages.synthesize.statements import Continuation, Reading, Source, Statement

IS = re.compile(
    r"(?P<lead>(?:At|In|For|Under) [^,;]{2,60}, )?(?P<subject>(?:[Tt]he|[Aa]n?) [^,;:()]{3,120}?) "
    r"(?:(?P<verb>is|was|are|were)(?: (?:about|approximately|around|only|(?:found|measured) to be|measured as|equal to))?"
    r"|(?:comes|amounts) to)\s*"
)
HAS = re.compile(
    r"(?P<owner>[^,;:()]{2,80}?) (?:has|have|had|shows?|showed) (?:an?|the) (?P<property>[^,;:()]{3,80}?) of"
    r"(?: (?:about|approximately|around|only))?\s*"
)
NAME = re.compile(r"[A-Z0-9]")
CLAUSE = re.compile(r"\b(?:that|which|who|where|when|and|while)\b")  # more than a noun phrase
PRONOUN = re.compile(r"(?:it|they|this|these|those|that|which|we|he|she|one|both|all)\b", re.IGNORECASE)


def conversations(reading: Reading, split: Split) -> Iterator[Conversation]:
    """What a user may ask of one document, the most natural first."""
    source = reading.source
    if source.title and reading.abstract:
        yield _conversation(source, split, f'What is "{source.title}" about?', reading.abstract)
    for statement in reading.statements:
        asked = question_about(statement)
        for prompt in (asked, blanked(statement)) if asked else (blanked(statement),):
            yield _conversation(source, split, prompt, statement.sentence)
    for c in reading.continuations:
        yield _conversation(source, split, next_prompt(c), c.following)


def preferences(
    reading: Reading, split: Split, answers: Answers, others: Sequence[Continuation]
) -> Iterator[Preference]:
    """Right and wrong answers to the questions about one document; `answers` are those of its own split."""
    for s in reading.statements:
        yield _preference(s.source, split, question_about(s) or blanked(s), (s.sentence, answers.rejected(s)))
    for c in reading.continuations:
        if wrong_ones := other_followings(c, others, 1, answers.seed):
            yield _preference(c.source, split, next_prompt(c), (c.following, wrong_ones[0]))


def question_about(statement: Statement) -> str | None:
    """The question that a sentence "The ... is <quantity>" or "... has a ... of <quantity>" answers, else None.

    One without a name in it ("what is the mean age?") is placed by its document's title, and not asked without one.
    """
    before = statement.sentence[: statement.quantity.start]
    question = _is(before) or _has(before)
    if question is None or NAME.search(question, 1):
        return question and question[0].upper() + question[1:]
    title = statement.source.title
    return f'In "{title}", {question}' if title else None


def _is(before: str) -> str | None:
    match = IS.fullmatch(before)
    if match is None or CLAUSE.search(match["subject"]):
        return None
    return f"{match['lead'] or ''}what {match['verb'] or 'is'} {_lower_article(match['subject'])}?"


def _has(before: str) -> str | None:
    match = HAS.fullmatch(before)
    if match is None or PRONOUN.match(match["owner"]) or CLAUSE.search(match["owner"]):
        return None
    return f"what is the {match['property']} of {_lower_article(match['owner'])}?"


def _lower_article(words: str) -> str:
    """A noun phrase inside a sentence: "The alloy X" becomes "the alloy X", "Vorlane-7" stays."""
    return re.sub(r"^(The|An?) ", lambda m: m[0].lower(), words)


def next_prompt(continuation: Continuation) -> str:
    """The sentence to go on from, with a blank after it."""
    return with_title(continuation.source.title, f"{continuation.sentence} {BLANK}")


def _conversation(source: Source, split: Split, prompt: str, answer: str) -> Conversation:
    return Conversation(
        row_id=row_id("conversation", source.doc_id, prompt, answer),
        messages=[Message(role="user", content=prompt), Message(role="assistant", content=answer)],
        split=split,
        doc_id=source.doc_id,
        licence=source.licence,
    )


def _preference(source: Source, split: Split, prompt: str, answers: tuple[str, str]) -> Preference:
    chosen, rejected = answers
    return Preference(
        row_id=row_id("preference", source.doc_id, prompt, chosen, rejected),
        prompt=[Message(role="user", content=prompt)],
        chosen=[Message(role="assistant", content=chosen)],
        rejected=[Message(role="assistant", content=rejected)],
        split=split,
        doc_id=source.doc_id,
        licence=source.licence,
    )
