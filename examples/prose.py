"""Articles out of facts: a grammar of sentences, a voice that draws from it, and the order of things in a paper."""

import random
import re
from collections.abc import Sequence
from itertools import chain

from examples import phrases
from examples.document import Article, Block, Equation, Figure, Heading, Paragraph, Table
from examples.facts import Fact, Subject
from examples.laws import Law, law_of

CHOICE = re.compile(r"<([^<>]*)>")
NUMBER = re.compile(r"#(\d+)-(\d+)/(\d+)#")
WORDS_FOR = {5: "five", 6: "six"}


def with_article(noun: str) -> str:
    """`an activation energy`, `a density`; by the first letter, which is right for every noun of the catalogue."""
    return f"{'an' if noun[0].lower() in 'aeio' else 'a'} {noun}"


def capital(text: str) -> str:
    """First letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


class Voice:
    """Draws sentences: from each tuple without repeating one before all are used."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)
        self.decks: dict[Sequence[str], list[str]] = {}

    def draw(self, templates: Sequence[str]) -> str:
        """The next template of a shuffled deck."""
        deck = self.decks.get(templates)
        if not deck:
            deck = self.decks[templates] = self.rng.sample(templates, len(templates))
        return deck.pop()

    def say(self, templates: Sequence[str], words: dict[str, str]) -> str:
        """A sentence: template drawn, choices made, numbers drawn, words filled in."""
        text = CHOICE.sub(lambda m: self.rng.choice(m[1].split("|")), self.draw(templates))
        text = NUMBER.sub(lambda m: str(self.rng.randrange(int(m[1]), int(m[2]) + 1, int(m[3]))), text)
        return capital(text.format_map(words))

    def several(self, templates: Sequence[str], count: int, words: dict[str, str]) -> list[str]:
        """`count` different sentences."""
        return [self.say(templates, words) for _ in range(count)]


def fact_words(fact: Fact) -> dict[str, str]:
    """The words of a fact."""
    prop = fact.prop
    return {
        "prop": prop, "Prop": capital(prop), "a_prop": with_article(prop), "A_prop": capital(with_article(prop)),
        "amount": fact.amount, "method": fact.method, "Method": capital(fact.method),
    }  # fmt: skip


def subject_words(subject: Subject, seed: int) -> dict[str, str]:
    """The words of a subject that are the same all through an article, its leading property among them."""
    kind, rng = subject.kind, random.Random(f"{seed}/words/{subject.sheet}")
    lead, second = rng.sample(subject.facts, 2)
    return {
        "name": subject.name, "kind": kind.noun, "kinds": kind.plural, "Kinds": capital(kind.plural),
        "a_kind": with_article(kind.noun), "field": kind.field, "use": rng.choice(kind.uses),
        "form": rng.choice(kind.forms), "sheet": str(subject.sheet), "law": law_of(subject).title,
        "six": WORDS_FOR[len(subject.facts)], "prop2": second.prop, **fact_words(lead),
    }  # fmt: skip


def title_of(subject: Subject, seed: int) -> str:
    """The title of the article about a subject."""
    return Voice(f"{seed}/title/{subject.sheet}").say(phrases.TITLES, subject_words(subject, seed))


def compose(subject: Subject, cited: Sequence[Subject], seed: int, licence: str, *, short: bool = False) -> Article:
    """The article about `subject`; `cited` are the subjects whose facts it repeats, in order of their numbers.

    A short one leaves out the law of its kind and a part of the discussion: 450 words instead of 750.
    """
    return _Writer(subject, cited, seed, short=short).article(licence)


class _Writer:
    """Writes one article, section by section."""

    def __init__(self, subject: Subject, cited: Sequence[Subject], seed: int, *, short: bool) -> None:
        self.subject, self.cited, self.seed, self.short = subject, cited, seed, short
        self.voice = Voice(f"{seed}/article/{subject.sheet}")
        self.words = subject_words(subject, seed)
        self.law = law_of(subject)

    def article(self, licence: str) -> Article:
        say, rng = self.voice.say, self.voice.rng
        law_first = rng.random() < 0.5
        law = [] if self.short else self.relation()
        results = self.results(2 if law_first and any(isinstance(b, Table) for b in law) else 1)
        middle = [law, results] if law_first else [results, law]
        sections = [self.introduction(), self.methods(), *middle, self.discussion(), self.conclusion()]
        return Article(
            stem=slug(f"{self.subject.sheet:03d} {self.subject.name}"),
            title=title_of(self.subject, self.seed),
            byline=say(phrases.BYLINES, self.words),
            notice=say(phrases.NOTICES, self.words),
            licence=licence,
            abstract=self.abstract(),
            keywords=(self.subject.name, self.words["field"], *(f.prop for f in rng.sample(self.subject.facts, 3))),
            body=_number([block for section in sections for block in section]),
            references=tuple(f"Sheet {s.sheet}. {title_of(s, self.seed)}." for s in self.cited),
        )

    def heading(self, section: str) -> Heading:
        return Heading(0, self.voice.say(phrases.HEADINGS[section], self.words))

    def say(self, templates: Sequence[str], **words: str) -> str:
        return self.voice.say(templates, {**self.words, **words})

    def state(self, fact: Fact) -> str:
        return self.voice.say(phrases.FACT, {**self.words, **fact_words(fact)})

    def abstract(self) -> Paragraph:
        facts = [self.state(f) for f in self.voice.rng.sample(self.subject.facts, 3)]
        law = [] if self.short else [self.say(phrases.ABSTRACT_LAW)]
        return Paragraph((self.say(phrases.ABSTRACT_OPEN), *facts, *law, self.say(phrases.ABSTRACT_CLOSE)))

    def introduction(self) -> list[Block]:
        first = [self.say(phrases.INTRO_OPEN), *self.voice.several(phrases.INTRO_STATE, 2, self.words)]
        cites = [self.cite(number, other) for number, other in enumerate(self.cited, 1)]
        aims = self.voice.several(phrases.INTRO_AIM, 2, self.words)
        return [self.heading("introduction"), Paragraph(tuple(first)), Paragraph((*cites, *aims))]

    def cite(self, ref: int, other: Subject) -> str:
        fact = self.voice.rng.choice(other.facts)
        return self.say(
            phrases.INTRO_CITE,
            other=other.name, okind=other.kind.noun, oprop=fact.prop, a_oprop=with_article(fact.prop),
            oamount=fact.amount, ref=str(ref),
        )  # fmt: skip

    def methods(self) -> list[Block]:
        steps = [self.voice.say((step,), self.words) for step in self.subject.kind.steps]
        kept = self.voice.rng.sample(range(len(steps)), 3)
        making = (self.say(phrases.METHOD_OPEN), *(steps[i] for i in sorted(kept)))
        found = [self.voice.say(phrases.METHOD_PROPERTY, {**self.words, **fact_words(f)}) for f in self.subject.facts]
        errors = self.voice.several(phrases.METHOD_ERROR, 2, self.words)
        return [self.heading("methods"), Paragraph(making), Paragraph((*found, *errors))]

    def results(self, table_number: int) -> list[Block]:
        rng, facts = self.voice.rng, list(self.subject.facts)
        rows = tuple((capital(f.prop), f.value, f.unit or "–", f"± {f.error}") for f in facts)
        table = Table(0, f"Properties of {self.subject.name}.", ("Property", "Value", "Unit", "Error"), rows)
        rng.shuffle(facts)
        said = [[self.state(f)] for f in facts]
        for sentences in rng.sample(said, 3):
            sentences.append(self.say(phrases.FACT_REMARK))
        first = (self.say(phrases.RESULT_OPEN, table=str(table_number)), *chain(*said[:3]))
        return [self.heading("results"), Paragraph(first), table, Paragraph(tuple(chain(*said[3:])))]

    def relation(self) -> list[Block]:
        law = self.law
        words = law_words(law)
        picked = self.voice.rng.sample(law.printed(), 2)
        points = [self.say(phrases.LAW_POINT, **words, **point_words(law, point)) for point in picked]
        series = self.say(phrases.LAW_SERIES, **words)
        after = Paragraph((f"{law.symbols}.", series, *points, self.say(phrases.LAW_CLOSE)))
        axes = (label(law.names[0], law.units[0]), label(law.names[1], law.units[1]))
        shown: Block = Figure(0, f"{capital(axes[1])} of {self.subject.name} against {axes[0]}.", axes, law.points)
        if self.voice.rng.random() < 0.5:
            shown = Table(
                0, f"Series for {law.title} of {self.subject.name}.", tuple(map(capital, axes)), law.printed()
            )
        opening = Paragraph((f"{self.say(phrases.LAW_OPEN)}:",))
        return [self.heading("law"), opening, Equation(law.math, law.plain, 1), after, shown]

    def discussion(self) -> list[Block]:
        pairs = [
            (number, other, fact, other.fact(fact.prop))
            for number, other in enumerate(self.cited, 1)
            for fact in self.subject.facts
            if any(f.prop == fact.prop for f in other.facts) and float(fact.value) != float(other.fact(fact.prop).value)
        ]
        compared = [self.compare(*pair) for pair in self.voice.rng.sample(pairs, min(3, len(pairs)))]
        remarks = self.voice.several(phrases.DISCUSS, 4, self.words)
        first = Paragraph((*compared, *remarks[:2]))
        return [self.heading("discussion"), first, *([] if self.short else [Paragraph(tuple(remarks[2:]))])]

    def compare(self, ref: int, other: Subject, ours: Fact, theirs: Fact) -> str:
        low, high = sorted((float(ours.value), float(theirs.value)))
        places = len(ours.value.partition(".")[2])
        more = "higher" if float(ours.value) == high else "lower"
        return self.say(
            phrases.COMPARE,
            **{**fact_words(ours), "other": other.name, "oamount": theirs.amount, "ref": str(ref), "more": more,
               "difference": f"{high - low:.{places}f} {ours.unit}".strip()},
        )  # fmt: skip

    def conclusion(self) -> list[Block]:
        facts = [self.state(f) for f in self.voice.rng.sample(self.subject.facts, 3)]
        outlook = self.voice.several(phrases.OUTLOOK, 2, self.words)
        return [self.heading("conclusion"), Paragraph((self.say(phrases.CONCLUDE_OPEN), *facts, *outlook))]


def law_words(law: Law) -> dict[str, str]:
    """The words of a series: its quantities, its ends and how many points it has."""
    xs = [x for x, _ in law.printed()]
    ends = {"x_low": xs[0], "x_high": f"{xs[-1]} {law.units[0]}".strip()}
    return {"x": law.names[0], "y": law.names[1], "count": str(len(xs)), **ends}


def point_words(law: Law, point: tuple[str, str]) -> dict[str, str]:
    """The words of one point."""
    return {"x_at": f"{point[0]} {law.units[0]}".strip(), "y_at": f"{point[1]} {law.units[1]}".strip()}


def label(name: str, unit: str) -> str:
    """An axis label or a table head: `temperature (K)`, or the name alone."""
    return f"{name} ({unit})" if unit else name


def slug(text: str) -> str:
    """Lower-case words and digits with hyphens between: a file name."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))


def _number(blocks: list[Block]) -> tuple[Block, ...]:
    """Number headings, tables and figures in the order in which they come."""
    counts = {Heading: 0, Table: 0, Figure: 0}
    numbered: list[Block] = []
    for block in blocks:
        match block:
            case Heading(text=text):
                counts[Heading] += 1
                numbered.append(Heading(counts[Heading], text))
            case Table(caption=caption, head=head, rows=rows):
                counts[Table] += 1
                numbered.append(Table(counts[Table], caption, head, rows))
            case Figure(caption=caption, axes=axes, points=points):
                counts[Figure] += 1
                numbered.append(Figure(counts[Figure], caption, axes, points))
            case _:
                numbered.append(block)
    return tuple(numbered)
