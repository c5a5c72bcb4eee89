import random
import re
from itertools import combinations

import pytest

from examples import phrases
from examples.document import Article, Equation, Figure, Heading, Paragraph, Table, plain_text
from examples.facts import Subject, catalogue
from examples.german import german_article
from examples.prose import Voice, compose, slug, title_of, with_article
from tests.examples.measures import jaccard, words

SUBJECTS = catalogue(56, 2)


def article(index: int, *, short: bool = False) -> Article:
    """The article about subject `index`, which cites two of its kind and one other."""
    return compose(SUBJECTS[index], cited(index), 2, "CC-BY-4.0", short=short)


def cited(index: int) -> list[Subject]:
    """Two subjects of the same kind and the next one."""
    return [SUBJECTS[(index + step) % len(SUBJECTS)] for step in (14, 28, 1)]


ARTICLES = [article(index) for index in range(len(SUBJECTS))]


def test_every_fact_is_stated_in_text_and_table() -> None:
    """Each fact must stand with its unit in at least one sentence that names the subject, and as a row of the table."""
    for subject, written in zip(SUBJECTS, ARTICLES, strict=True):
        sentences = [s for b in written.body if isinstance(b, Paragraph) for s in b.sentences]
        rows = [row for b in written.body if isinstance(b, Table) for row in b.rows]
        for fact in subject.facts:
            assert any(subject.name in s and fact.prop in s.lower() + s and fact.amount in s for s in sentences)
            assert any(row[:2] == (fact.prop[0].upper() + fact.prop[1:], fact.value) for row in rows)


def test_stated_amounts_are_true() -> None:
    """A sentence "the P of X is A" may be about any subject of the catalogue, and must agree with its facts."""
    pattern = re.compile(
        r"The ([a-zA-Z -]+) of (?:the [a-z]+ )?([A-Z][\w -]*?) (?:is|was found to be|comes to) ([\d.]+)"
    )
    by_name = {s.name: s for s in SUBJECTS}
    checked = 0
    for written in ARTICLES:
        for prop, name, value in pattern.findall(plain_text(written)):
            if name in by_name:
                assert by_name[name].fact(prop).value == value.rstrip(".")
                checked += 1
    assert checked > 150


def test_comparisons_are_true() -> None:
    """`Higher` must be higher: the first amount against the one of the cited article."""
    pattern = re.compile(
        r"\(([\d.]+)[^()]*(?:\([^()]*\))?[^()]*\) is (higher|lower) than that of .*?, which is ([\d.]+)"
    )
    found = [m for written in ARTICLES for m in pattern.findall(plain_text(written))]
    assert len(found) > 10
    for ours, more, theirs in found:
        assert (float(ours) > float(theirs)) == (more == "higher")


def test_cited_facts_are_true_and_their_numbers_lead_to_the_right_sheet() -> None:
    """A fact that is cited as [n] must be one of the subject that reference n names."""
    subjects = cited(5)
    written = article(5)
    introduction = " ".join(b.text for b in written.body if isinstance(b, Paragraph))
    for number, other in enumerate(subjects, 1):
        assert f"[{number}]" in introduction
        assert any(other.name in introduction and f.amount in introduction for f in other.facts)
        assert written.references[number - 1] == f"Sheet {other.sheet}. {title_of(other, 2)}."


def test_two_articles_share_little() -> None:
    """Unrelated articles must not look like near-duplicates: 5-gram Jaccard below 0.2 (the limit of dedup is 0.7)."""
    texts = [plain_text(written) for written in ARTICLES]
    highest = max(jaccard(a, b) for a, b in combinations(texts[::2], 2))
    alike = max(jaccard(texts[i], texts[i + 14]) for i in range(14))  # of one kind
    assert max(highest, alike) < 0.2


def test_lengths() -> None:
    """A full article has 600 to 950 words, a short one 450 to 750, fewer than the full one about the same subject."""
    for index in range(0, len(SUBJECTS), 5):
        full, short = len(words(plain_text(ARTICLES[index]))), len(words(plain_text(article(index, short=True))))
        assert 450 <= short <= 750
        assert short < full
        assert 600 <= full <= 1000


def test_nothing_of_the_grammar_is_left() -> None:
    """No mark of a choice, a number or a key may be left in a text, and no double space."""
    for written in ARTICLES:
        assert not re.search(r"[<>|{}]|#\d|  ", plain_text(written).replace("\n", " ").replace("  ", "\n")), (
            written.stem
        )


def test_every_template_can_be_said() -> None:
    """Each sentence of the grammar must come out with the words that an article has."""
    keys = {
        "name", "kind", "kinds", "Kinds", "a_kind", "field", "use", "form", "sheet", "law", "six", "prop2", "prop", "Prop",
        "a_prop", "A_prop", "amount", "method", "Method", "other", "okind", "oprop", "a_oprop", "oamount", "ref", "count",
        "x", "y", "x_low", "x_high", "x_at", "y_at", "table", "more", "difference",
    }  # fmt: skip
    voice = Voice("x")
    tuples = [value for value in vars(phrases).values() if isinstance(value, tuple)] + list(phrases.HEADINGS.values())
    for templates in tuples:
        for template in templates:
            said = voice.say((template,), {key: f"w{key}" for key in keys})
            assert said
            assert not set(said) & set("<>|{}#")


def test_headings_tables_and_figures_are_numbered_in_order() -> None:
    """Numbers must count from 1 in reading order, and the sentence on the table of values must name the right one."""
    for written in ARTICLES:
        for kind in (Heading, Table, Figure):
            numbers = [b.number for b in written.body if isinstance(b, kind)]
            assert numbers == list(range(1, len(numbers) + 1))
        values = next(b.number for b in written.body if isinstance(b, Table) and b.head[0] == "Property")
        assert set(re.findall(r"in Table (\d)|^Table (\d) [lgh]", plain_text(written))) <= {
            (str(values), ""),
            ("", str(values)),
        }


def test_full_articles_have_a_law_and_short_ones_none() -> None:
    """A full article must have an equation with a table or a figure of its series; a short one must not."""
    for index in (0, 3, 9):
        assert sum(isinstance(b, Equation) for b in ARTICLES[index].body) == 1
        assert sum(isinstance(b, Table | Figure) for b in ARTICLES[index].body) == 2
        assert not any(isinstance(b, Equation | Figure) for b in article(index, short=True).body)


def test_every_article_says_that_it_is_invented() -> None:
    """The front matter must say that the materials do not exist."""
    for written in ARTICLES:
        assert re.search(r"[Ii]nvented|does not exist", written.notice)
        assert plain_text(written).index(written.notice) < 300


def test_voice_repeats_nothing_before_all_are_used() -> None:
    """A tuple of sentences must be gone through once before one comes again."""
    voice, templates = Voice("seed"), ("a", "b", "c", "d")
    assert sorted(voice.several(templates, 4, {})) == ["A", "B", "C", "D"]
    assert sorted(voice.several(templates, 4, {})) == ["A", "B", "C", "D"]


def test_choices_and_numbers() -> None:
    """A choice must take one of its parts, a number must lie on its grid."""
    for seed in range(20):
        said = Voice(str(seed)).say(("<red|blue> #10-50/20#",), {})
        assert re.fullmatch(r"(red|blue) (10|30|50)", said, re.IGNORECASE)


@pytest.mark.parametrize(
    ("noun", "expected"), [("alloy", "an alloy"), ("density", "a density"), ("open porosity", "an open porosity")]
)
def test_articles_of_nouns(noun: str, expected: str) -> None:
    """The indefinite article must fit the first letter."""
    assert with_article(noun) == expected


def test_every_noun_takes_the_article_of_its_letter() -> None:
    """No noun may begin with a u or an h, whose article is not told by the letter."""
    nouns = {f.prop for s in SUBJECTS for f in s.facts} | {s.kind.noun for s in SUBJECTS}
    assert not [noun for noun in nouns if noun[0] in "uU" or noun.lower().startswith(("hour", "honest", "one"))]


def test_slug() -> None:
    """A file name must have lower-case letters, digits and hyphens."""
    assert slug("012 Poly-nestrel (B4)") == "012-poly-nestrel-b4"


def test_the_german_article_is_german() -> None:
    """The article in another language must have 400 words or more, German stop words, and decimal commas."""
    text = plain_text(german_article(SUBJECTS[0], cited(0), "CC-BY-4.0"))
    found = words(text)
    assert len(found) >= 400
    assert sum(
        word in {"der", "die", "das", "und", "in", "wurde", "nicht", "für", "mit"} for word in found
    ) > 0.1 * len(found)
    assert not [word for word in found if word in {"the", "of", "and", "is"}]
    assert all(f.value.replace(".", ",") in text for f in SUBJECTS[0].facts)


def test_the_german_article_knows_alloys_only() -> None:
    """A subject whose properties have no German word must be a KeyError."""
    with pytest.raises(KeyError):
        german_article(SUBJECTS[1], cited(1), "CC-BY-4.0")


def test_words_of_an_article_do_not_depend_on_others() -> None:
    """Writing articles in another order must give the same texts."""
    order = list(range(10))
    random.Random(1).shuffle(order)
    assert {i: article(i) for i in order} == dict(enumerate(ARTICLES[:10]))
