"""Items of science in a text, and how many of them came through."""

import pytest

from stages.parse.score.science import fidelity, fidelity_by_kind, items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a loss of −1.5 × 10⁻³ and", {"-1.5e-3"}),
        ("a loss of -1.5 x 10-3 and", {"-1.5e-3"}),
        ("about 6.02 × 1023 of them", {"6.02e23"}),
        ("some 2·10^5 cells", {"2e5"}),
        ("1.5e-3 or so", {"1.5e-3"}),
        ("from 3–5 nm", {"3", "5"}),
        ("rated at ±5 here", {"±5"}),
        ("see v1.2.3 of x2", set()),
    ],
)
def test_numbers(text: str, expected: set[str]) -> None:
    """A number is one whatever the signs that it is written with, and keeps its own sign and exponent."""
    assert set(items(text)["numbers"]) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("units", "5 mg/mL, 25 °C, 3 µm, 400 W/(m K), 9.81 m s", {"mg/mL", "°C", "μm", "W/(mK)", "m"}),
        ("Greek", "the β-sheet and Δ of 𝛼", {"β", "Δ", "α"}),
        ("formulae", "NaCl, H₂SO₄ and Ca(OH)2, not OCR, HIV or We", {"NaCl", "H2SO4", "Ca(OH)2"}),
        ("genes", "TP53, BRCA1 and IL-6, not CO2", {"TP53", "BRCA1", "IL-6"}),
        ("citations", "[3, 5–7] and Smith et al., 2019; (Lee and Wu, 2001a)", {"3", "5", "6", "7", "Smith 2019", "Lee 2001"}),
        ("equations", "where y = 2.5, and (p < 0.05).", {"y=2.5", "p<0.05"}),
    ],
)  # fmt: skip
def test_kinds(kind: str, text: str, expected: set[str]) -> None:
    """Each kind is told by its form, in one spelling."""
    assert set(items(text)[kind]) == expected


def test_a_lost_sign_counts() -> None:
    """A minus that was lost is an item that is missing and one that is wrong."""
    found = fidelity_by_kind("cooled to −40 and −80 here", "cooled to 40 and −80 here")["numbers"]
    assert found == (1, 2, 2)
    assert (found.recall, found.precision, found.f1) == (0.5, 0.5, 0.5)


def test_items_count_as_often_as_they_stand() -> None:
    """A text that has a number once where the truth has it twice has half of it."""
    assert fidelity("7 and 7", "7 and").recall == 0.5
    assert fidelity("7 and", "7 and 7").precision == 0.5


def test_nothing_to_find() -> None:
    """There is no score for a text without science, and none of it is not a score of 0."""
    assert fidelity("plain words", "plain words").f1 is None
    assert fidelity("plain words", "with a 5").f1 is None
    assert fidelity("with a 5", "plain words").f1 == 0
