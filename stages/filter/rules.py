"""The rules in their order, cheap ones first: a document is dropped for the first that it breaks.

Each rule measures one thing and has one reason, so that the counts of reasons add up to the documents dropped.
What it gives up: words are split at white space, so that Chinese, Japanese or Thai needs `min_words` and the mean
length set for it; the stop words are English, and asked for in English alone.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from stages.filter import Filter, shape
from stages.filter import repetition as rep
from stages.filter.language import LanguageVote
from stages.quarantine import REASON
from stages.tables import Outputs, Reader

BATCH_ROWS = 64
PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
MIN_STOP_WORDS = 2  # Gopher's
COLUMNS = ("doc_id", "text", "licence", "path")


class Failure(NamedTuple):
    """Why a document goes no further: fixed words, and what was found."""

    reason: str
    detail: str


def filter_documents(stage: Filter, documents: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `Filter`."""
    rules = Rules(stage)
    outputs.progress.start("documents", documents.num_rows)
    for batch in documents.batches(batch_rows=BATCH_ROWS):
        languages, keep = [], []
        for doc_id, text, licence, path in zip(*(batch[c].to_pylist() for c in COLUMNS), strict=True):
            crash = outputs.begin(doc_id)
            language, failure = (None, Failure(REASON, crash)) if crash else rules.judge(text, licence)
            if failure:
                outputs.drop(doc_id, *failure, path)
            languages.append(language)
            keep.append(failure is None)
        place = batch.schema.get_field_index("language")
        judged = batch.set_column(place, "language", pa.array(languages, pa.string()))
        outputs["documents"].write(judged.filter(pa.array(keep, pa.bool_())))
        outputs.progress.advance(batch.num_rows)


class Rules:
    """The rules with the limits of a stage's settings."""

    def __init__(self, stage: Filter) -> None:
        self.limits = stage
        self.licences = {_folded(licence) for licence in stage.licences}
        self._vote = LanguageVote()

    def judge(self, text: str, licence: str | None) -> tuple[str | None, Failure | None]:
        """Return a document's language, where it was asked for, and the first rule that it breaks."""
        words = text.split()
        failure = self.licence(licence) or self.length(words) or self.shape(words, text)
        if failure:
            return None, failure
        language, share = self._vote(text)
        failure = self.language(language, share) or self.prose(words, language) or self.repetition(words, text)
        return language or None, failure

    def licence(self, licence: str | None) -> Failure | None:
        """Compare with the allow-list; "CC-BY-4.0" and "cc by 4.0" are the same."""
        if not licence or not licence.strip():
            dropped = self.limits.unknown_licence == "drop"
            return Failure("unknown licence", "the document names no licence") if dropped else None
        if self.licences and _folded(licence) not in self.licences:
            return Failure("licence", f"{licence} is not one of {', '.join(self.limits.licences)}")
        return None

    def length(self, words: Sequence[str]) -> Failure | None:
        """Count the words."""
        if len(words) < self.limits.min_words:
            return Failure("too short", f"{len(words)} words, at least {self.limits.min_words} wanted")
        if len(words) > self.limits.max_words:
            return Failure("too long", f"{len(words)} words, at most {self.limits.max_words} wanted")
        return None

    def shape(self, words: Sequence[str], text: str) -> Failure | None:
        """Look for what is not text: waste of a broken PDF, symbols, tables without words, words without spaces."""
        limits = self.limits
        if (waste := shape.waste_fraction(words)) > limits.max_waste_fraction:
            return Failure("garbage", f"{waste:.3f} of the words have characters of no script")
        if (letters := shape.alphabetic_fraction(words)) < limits.min_alphabetic_fraction:
            return Failure("garbage", f"{letters:.3f} of the words have a letter")
        if (symbols := shape.symbol_fraction(words, text)) > limits.max_symbol_fraction:
            return Failure("garbage", f"{symbols:.3f} hash signs and ellipses a word")
        if not limits.min_mean_word_length <= (mean := shape.mean_length(words)) <= limits.max_mean_word_length:
            return Failure("garbage", f"{mean:.2f} characters a word")
        return None

    def language(self, language: str, share: float) -> Failure | None:
        """Compare the vote with the languages that are wanted."""
        if self.limits.languages and language not in self.limits.languages:
            return Failure("language", f"{language or 'none'} with {share:.2f} of the votes")
        if share < self.limits.min_language_share:
            return Failure("language", f"no clear one: {language or 'none'} with {share:.2f} of the votes")
        return None

    def prose(self, words: Sequence[str], language: str) -> Failure | None:
        """Look for the words that every English sentence has."""
        if language == "en" and (found := shape.num_stop_words(words)) < MIN_STOP_WORDS:
            return Failure("not prose", f"{found} of the {len(shape.STOP_WORDS)} commonest words")
        return None

    def repetition(self, words: Sequence[str], text: str) -> Failure | None:
        """Measure lines, paragraphs and n-grams of words that occur again and again."""
        return next((Failure("repetition", words) for words in self._repeated(words, text)), None)

    def _repeated(self, words: Sequence[str], text: str) -> Iterator[str]:
        limits = self.limits
        for name, pieces in (("lines", text.split("\n")), ("paragraphs", PARAGRAPH_BREAK.split(text))):
            if (found := rep.duplicate_fraction(pieces)) > limits.max_duplicate_line_fraction:
                yield f"{found:.3f} of the characters in repeated {name}"
        for size, limit in enumerate(limits.max_top_ngram_fractions, start=2):
            if (found := rep.top_ngram_fraction(words, size)) > limit:
                yield f"{found:.3f} of the characters in one {size}-gram"
        repeated = rep.duplicate_ngram_fractions(words, range(5, 11))
        for size, found, limit in zip(range(5, 11), repeated, limits.max_duplicate_ngram_fractions, strict=True):
            if found > limit:
                yield f"{found:.3f} of the characters in repeated {size}-grams"


def _folded(licence: str) -> str:
    return re.sub(r"[\s_-]+", "-", licence.strip()).casefold()
