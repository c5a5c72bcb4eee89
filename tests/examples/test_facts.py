import random
import re

import pytest

from examples.facts import FACTS_PER_SUBJECT, MAX_SUBJECTS, PREFIXES, ROOTS, Fact, catalogue
from examples.kinds import KINDS
from examples.laws import LAWS
from examples.prose import Voice


def test_same_seed_same_catalogue() -> None:
    """The catalogue must depend on the seed alone, and its beginning not on its length."""
    assert catalogue(40, 1) == catalogue(90, 1)[:40]
    assert catalogue(40, 1) != catalogue(40, 2)


def test_names_are_unique() -> None:
    """No two subjects may share a name, or one would have two densities."""
    names = [s.name for s in catalogue(MAX_SUBJECTS, 0)]
    assert len(set(names)) == len(names) == len(ROOTS) * len(PREFIXES)


def test_roots_are_unique_and_plain() -> None:
    """A root must occur once and consist of letters, because it becomes a file name."""
    assert len(set(ROOTS)) == len(ROOTS)
    assert all(re.fullmatch(r"[A-Z][a-z]+", root) for root in ROOTS)


def test_too_many_subjects_are_refused() -> None:
    """More subjects than names must be an error that says both numbers."""
    with pytest.raises(ValueError, match=f"{MAX_SUBJECTS + 1}.*{MAX_SUBJECTS}"):
        catalogue(MAX_SUBJECTS + 1, 0)


def test_values_lie_in_their_ranges() -> None:
    """Every value must lie in the range of its property and have its decimals, or densities would not look like ones."""
    for subject in catalogue(200, 5):
        ranges = {p.name: p for p in subject.kind.properties}
        assert len(subject.facts) == FACTS_PER_SUBJECT
        for fact in subject.facts:
            prop = ranges[fact.prop]
            half = 0.5 * 10.0**-prop.places
            assert prop.low - half <= float(fact.value) <= prop.high + half
            assert len(fact.value.partition(".")[2]) == prop.places
            assert fact.unit == prop.unit
            assert fact.method in prop.methods


def test_subjects_have_what_their_law_needs() -> None:
    """The properties that a kind's law computes with must be among the facts of each of its subjects."""
    for subject in catalogue(200, 6):
        assert set(subject.kind.needs) <= {f.prop for f in subject.facts}


def test_kinds_are_complete() -> None:
    """Each kind must have a law, more properties than a subject gets, and four steps of preparation."""
    for kind in KINDS:
        names = [p.name for p in kind.properties]
        assert kind.law in LAWS
        assert len(set(names)) == len(names) > FACTS_PER_SUBJECT
        assert set(kind.needs) <= set(names)
        assert len(kind.steps) == 4
    assert len({kind.noun for kind in KINDS}) == len(KINDS)


def test_a_property_has_one_unit_everywhere() -> None:
    """A property that several kinds share must have the same unit in all, or comparisons would be wrong."""
    units: dict[str, str] = {}
    for kind in KINDS:
        for prop in kind.properties:
            assert units.setdefault(prop.name, prop.unit) == prop.unit, prop.name


def test_steps_can_be_said() -> None:
    """Each step of preparation must come out without a mark of the grammar."""
    for kind in KINDS:
        for step in kind.steps:
            assert not re.search(r"[<>|#{}]", Voice("x").say((step,), {})), step


def test_amount_and_error() -> None:
    """An amount is value and unit; an error is 1 to 5 in the last decimal."""
    assert Fact("X", "density", "4.20", "g/cm³", "m").amount == "4.20 g/cm³"
    assert Fact("X", "optimum pH", "7.4", "", "m").amount == "7.4"
    rng = random.Random(0)
    for places in (0, 1, 3):
        fact = Fact("X", "p", f"{rng.uniform(1, 100):.{places}f}", "", "m")
        assert 0.99 <= float(fact.error) * 10**places <= 5.01


def test_unknown_property() -> None:
    """Asking a subject for what it does not have must be a KeyError with the property's name."""
    with pytest.raises(KeyError, match="taste"):
        catalogue(1, 0)[0].fact("taste")
