"""The one article that is not in English: a German account of a subject, from the same facts."""

from collections.abc import Sequence

from examples.document import Article, Block, Heading, Paragraph, Table
from examples.facts import Fact, Subject
from examples.prose import slug

LABELS = {
    "abstract": "Zusammenfassung",
    "keywords": "Schlagwörter",
    "table": "Tabelle",
    "figure": "Abbildung",
    "references": "Literatur",
    "licence": "Lizenz",
    "page": "Seite",
}
WORDS = {
    "density": "Dichte",
    "melting point": "Schmelzpunkt",
    "yield strength": "Streckgrenze",
    "elastic modulus": "Elastizitätsmodul",
    "thermal conductivity": "Wärmeleitfähigkeit",
    "lattice constant": "Gitterkonstante",
    "fatigue limit": "Dauerfestigkeit",
}

STATED = (
    "Als Ergebnis für die Größe {word} fanden wir {amount}.",
    "Die Größe {word} von {name} beträgt {amount}.",
    "Für {name} wurde außerdem bestimmt: {word} {amount}.",
    "Unter denselben Bedingungen ergab sich {amount} ({word}).",
    "{name} hat bei der Größe {word} den Wert {amount}.",
    "Schließlich wurde {word} mit {amount} gemessen.",
)
HEAD = ("Eigenschaft", "Wert", "Einheit", "Fehler")
RESULTS = (
    "Die Werte stammen aus mindestens fünf Läufen, und die Streuung blieb in allen Fällen klein.",
    "Eine zweite Schmelze zeigte innerhalb der Fehler dasselbe Verhalten.",
    "Nur ein einziger Lauf musste verworfen werden, weil das Thermoelement während der Messung gebrochen war.",
)


def _amount(fact: Fact) -> str:
    return f"{fact.value.replace('.', ',')} {fact.unit}".strip()


def german_article(subject: Subject, cited: Sequence[Subject], licence: str) -> Article:
    """The German article about an alloy, 450 words; raises `KeyError` for a subject of another kind."""
    name = subject.name
    amounts = [(WORDS[f.prop], _amount(f)) for f in subject.facts]
    rows = tuple(
        (WORDS[f.prop], f.value.replace(".", ","), f.unit, f"± {f.error.replace('.', ',')}") for f in subject.facts
    )
    stated = tuple(
        how.format(name=name, word=word, amount=amount) for how, (word, amount) in zip(STATED, amounts, strict=True)
    )
    return Article(
        stem=slug(f"{subject.sheet:03d} legierung {name}"),
        title=f"Herstellung und Eigenschaften der Legierung {name}",
        byline=f"Katalog zur Vorführung, Blatt {subject.sheet}",
        notice=f"Zur Vorführung erfunden: {name} und alle anderen Stoffe in diesem Aufsatz gibt es nicht.",
        licence=licence,
        abstract=_abstract(name, amounts),
        keywords=(name, "Metallkunde", *(word for word, _ in amounts[:3])),
        body=(*_opening(name, cited), Heading(3, "Ergebnisse"), Table(1, f"Eigenschaften von {name}.", HEAD, rows),
              Paragraph((*stated, *RESULTS)), *_ending(name, amounts)),
        references=tuple(f"Blatt {s.sheet}. {s.name}, ein Werkstoff des Katalogs." for s in cited),
        language="de",
        labels=LABELS,
    )  # fmt: skip


def _abstract(name: str, amounts: list[tuple[str, str]]) -> Paragraph:
    (first, first_amount), (second, second_amount) = amounts[:2]
    return Paragraph(
        (
            f"In diesem Blatt wird beschrieben, wie die Legierung {name} hergestellt und geprüft wurde.",
            f"Gemessen wurden sechs Eigenschaften, darunter {first} ({first_amount}) und {second} ({second_amount}).",
            "Die Werte werden mit denen anderer Blätter verglichen, und es wird gesagt, wo sie unsicher sind.",
        )
    )


def _opening(name: str, cited: Sequence[Subject]) -> tuple[Block, ...]:
    named = " und ".join(f"{s.name} [{n}]" for n, s in enumerate(cited[:2], 1))
    return (
        Heading(1, "Einleitung"),
        Paragraph(
            (
                (
                    "Wer Federn baut, die auch in der Hitze steif bleiben sollen, sucht seit langem nach einem Werkstoff, "
                    "der sich von Schmelze zu Schmelze gleich verhält."
                ),
                f"Die Legierung {name} wurde für diesen Zweck entworfen, aber bisher lagen nur Schätzungen vor.",
                f"Verwandte Stoffe wie {named} sind an anderer Stelle beschrieben worden.",
                (
                    "Ziel dieser Arbeit ist es, die fehlenden Zahlen zu messen und jeden Schritt so zu schildern, dass er "
                    "sich wiederholen lässt."
                ),
            )
        ),
        Heading(2, "Herstellung und Verfahren"),
        Paragraph(
            (
                "Die Ausgangsstoffe wurden in der üblichen Reinheit gekauft und ohne weitere Behandlung verwendet.",
                (
                    "Der Einsatz wurde im Induktionsofen unter Argon geschmolzen, eine halbe Stunde gehalten und in eine "
                    "Form aus Kupfer gegossen."
                ),
                "Danach wurden die Blöcke kalt gewalzt und zwölf Stunden geglüht, um die Spannungen abzubauen.",
                "Alle Geräte wurden vor und nach den Messungen mit einer bekannten Probe geprüft.",
                "Die Temperatur im Raum betrug einundzwanzig Grad, und die Luft war trocken.",
                "Jede vierte Messung wurde von einer zweiten Person wiederholt, die das erste Ergebnis nicht kannte.",
            )
        ),
    )


def _ending(name: str, amounts: list[tuple[str, str]]) -> tuple[Block, ...]:
    word, amount = amounts[-1]
    return (
        Heading(4, "Diskussion"),
        Paragraph(
            (
                "Zusammen passen die Zahlen gut zu einem Werkstoff für Federn und leichte Rahmen.",
                "Es wäre jedoch falsch, aus so wenigen Proben eine Regel abzuleiten.",
                (
                    "Ein Teil der Unterschiede zu anderen Legierungen dürfte von der Form der Proben kommen, denn geprüft "
                    "wurde nur dünnes Blech."
                ),
                "Auch die Feuchtigkeit wurde nicht in allen Läufen überwacht, was kleine Wirkungen verdecken kann.",
                "Ob der Werkstoff im täglichen Gebrauch besteht, können diese Versuche nicht beantworten.",
                (
                    "Wichtiger als die Rezeptur ist vermutlich der Weg der Herstellung, vor allem die Geschwindigkeit, mit "
                    "der die Schmelze abkühlt."
                ),
            )
        ),
        Heading(5, "Schluss"),
        Paragraph(
            (
                f"Die Legierung {name} ist damit so weit beschrieben, dass sie benutzt werden kann.",
                f"Am sichersten ist die Größe {word} bekannt, für die sich {amount} ergab.",
                (
                    "Als nächster Schritt ist ein Versuch über ein ganzes Jahr geplant, und eine größere Schmelze ist "
                    "bereits bestellt."
                ),
                "Wer eigene Proben besitzt, sollte sie prüfen, bevor er sich auf diese Werte verlässt.",
            )
        ),
    )
