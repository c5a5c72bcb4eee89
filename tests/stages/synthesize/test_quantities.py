"""Finding quantities, and making wrong ones."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.synthesize.quantities import (
    Quantity,
    canonical_unit,
    digest,
    find_quantities,
    is_stated,
    main_quantity,
    shape,
    value,
    wrong_numbers,
)


@pytest.mark.parametrize(
    ("sentence", "texts", "values"),
    [
        ("The density of Vorlane-7 is 3.21 g/cm3.", ["3.21 g/cm3"], [3.21]),
        ("Kept at −20 °C for 2 h.", ["−20 °C", "2 h"], [-20.0, 2.0]),
        ("A rate of 1.2 × 10^-5 mol L−1 s−1 was seen.", ["1.2 × 10^-5 mol L−1 s−1"], [1.2e-5]),
        ("A rate of 1.2 × 10⁻⁵ mol was seen.", ["1.2 × 10⁻⁵ mol"], [1.2e-5]),
        ("It weighs 1,200 kg m−3 now.", ["1,200 kg m−3"], [1200.0]),
        ("The width is 5.2 ± 0.3 mm (12.5%).", ["5.2 ± 0.3 mm", "12.5%"], [5.2, 12.5]),
        ("It has 0.5 wt% Cu and 2.3 W m⁻¹ K⁻¹.", ["0.5 wt%", "2.3 W m⁻¹ K⁻¹"], [0.5, 2.3]),
        ("Conductivity is 12 W/(m K), mobility 110 cm²/(V s).", ["12 W/(m K)", "110 cm²/(V s)"], [12.0, 110.0]),
        ("A toughness of 2.1 MPa m½ and 30 Pa s.", ["2.1 MPa m½", "30 Pa s"], [2.1, 30.0]),
        ("It was 2.1 10⁻⁶/K here.", ["2.1 10⁻⁶/K"], [2.1]),
        ("Doses of 100 mg/kg/day, 5 × 10^6 CFU/mL.", ["100 mg/kg/day", "5 × 10^6 CFU/mL"], [100.0, 5e6]),
        ("Heated to 180°C at 15 kV, 8 kJ/mol, 1.5e-3 Pa·s.", ["180°C", "15 kV", "8 kJ/mol", "1.5e-3 Pa·s"], [180, 15, 8, 1.5e-3]),
        ("About 5 per cent of 25 years.", ["5 per cent", "25 years"], [5.0, 25.0]),
        ("Cells (4 ng/μL) were kept.", ["4 ng/μL"], [4.0]),
    ],
)  # fmt: skip
def test_finds_what_is_written(sentence: str, texts: list[str], values: list[float]) -> None:
    """Number, spread, power and unit are taken whole, and the number reads as its value."""
    found = list(find_quantities(sentence))
    assert [q.text for q in found] == texts
    assert [sentence[q.start : q.end] for q in found] == texts
    assert [value(q.number) for q in found] == pytest.approx(values)


@pytest.mark.parametrize(
    "sentence",
    [
        "Kept at 10–20 °C.",
        "See Fig. 3 A and Table 2 m.",
        "In the 1960s and early 1880s1.",
        "The 3d orbitals and 2 H2O.",
        "There were 3 mice and p = 0.05.",
        "At 48°28′ north.",
        "Kept at 20 °C–25 °C.",
        "DOI 10.1234/5 and vitamin B12.",
        "A 12-h photoperiod.",
    ],
)
def test_leaves_what_is_no_quantity(sentence: str) -> None:
    """Ranges, labels, decades, formulas, counts and coordinates are not quantities."""
    assert list(find_quantities(sentence)) == []


@given(
    st.decimals(min_value=0, max_value=99999, places=2),
    st.sampled_from(["g/cm3", "°C", "%", "kJ/mol", "nm", "W m−1 K−1", "µL", "days"]),
)
def test_reads_back_any_decimal(number: object, unit: str) -> None:
    """Whatever number is written before a unit is found whole, with that value."""
    (found,) = find_quantities(f"The result is {number} {unit}.")
    assert (value(found.number), found.unit) == (float(str(number)), unit)


def test_a_sentence_is_about_what_it_states() -> None:
    """The quantity after "is" or "of" goes before one that names a condition; without such, the first."""
    assert main_quantity("At 298 K the density is 3.2 g/cm3.").text == "3.2 g/cm3"  # type: ignore[union-attr]
    assert main_quantity("Heated at 298 K for 3 h.").text == "298 K"  # type: ignore[union-attr]
    assert main_quantity("Nothing was measured at all.") is None
    sentence = "Heated at 298 K to a value of 3 h."
    assert [is_stated(sentence, q) for q in find_quantities(sentence)] == [False, True]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("g cm⁻³", "g cm^-3", True),
        ("g cm−3", "g cm-3", True),
        ("year", "years", True),
        ("percent", "%", True),
        ("μm", "µm", True),
        ("W/(m K)", "W/m K", True),
        ("km per hour", "km/hour", True),
        ("ms", "m", False),
        ("mg", "Mg", False),
        ("g/L", "g/mL", False),
    ],
)
def test_units_are_one_when_they_mean_one_thing(one: str, other: str, same: bool) -> None:
    """Spellings of a unit have one canonical form, and different units have different ones."""
    assert (canonical_unit(one) == canonical_unit(other)) == same


def test_the_shape_of_a_number_tells_spread_and_power() -> None:
    """Numbers stand for each other only if both have a spread or a power of ten, or neither has."""
    assert [shape(n) for n in ("3.2", "3 ± 1", "3 × 10^4", "3 ± 1 × 10^4")] == ["", "±", "e", "±e"]


def quantity(number: str) -> Quantity:
    """A length."""
    return Quantity(0, 0, number, " ", "mm")


def test_wrong_numbers_come_from_the_pool_near_ones_first() -> None:
    """Numbers within a factor of ten with as many decimals go before others, and the true value is never taken."""
    wrong = wrong_numbers(quantity("3.2"), ["3.20", "900.0", "4", "5.1", "2.2"], 3, "key")
    assert set(wrong[:2]) == {"5.1", "2.2"}
    assert wrong[2] == "4"


def test_wrong_numbers_are_made_up_when_the_pool_is_short() -> None:
    """With an empty pool the true number times a factor is taken, written with its decimals, spread and power."""
    for number in ("3.20", "0", "0.0", "1,200", "−4.5", "5.2 ± 0.3", "3 × 10^4", "7"):
        wrong = wrong_numbers(quantity(number), [], 3, "key")
        assert len({value(w) for w in wrong} - {value(number)}) == 3
        assert {shape(w) for w in wrong} == {shape(number)}
        assert {len(w.partition(".")[2]) for w in wrong} == {len(number.partition(".")[2])}


def test_wrong_numbers_depend_on_the_key_alone() -> None:
    """The same key gives the same numbers whatever the order of the pool; another key gives others."""
    pool = [f"{n}.5" for n in range(1, 30)]
    first = wrong_numbers(quantity("9.5"), pool, 3, "a")
    assert first == wrong_numbers(quantity("9.5"), pool[::-1], 3, "a")
    assert first != wrong_numbers(quantity("9.5"), pool, 3, "b")


def test_digest_is_uniform_and_tells_parts_apart() -> None:
    """4,000 hashes fall on four places evenly (chi-square under 16.3, p = 0.001), and ("ab", "c") is not ("a", "bc")."""
    counts = Counter(digest(0, i) % 4 for i in range(4000))
    assert sum((c - 1000) ** 2 / 1000 for c in counts.values()) < 16.3
    assert digest("ab", "c") != digest("a", "bc")
