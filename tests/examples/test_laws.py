import math
from dataclasses import replace
from itertools import pairwise

import pytest
import typst

from examples import laws
from examples.facts import Fact, Subject, catalogue
from examples.kinds import KINDS


def subject(**values: str) -> Subject:
    """A subject with just these values; `_` in a keyword is a space in the property's name."""
    facts = tuple(Fact("X", name.replace("_", " "), value, "", "m") for name, value in values.items())
    return replace(catalogue(1, 0)[0], facts=facts)


def test_bragg_gives_the_published_lines_of_silicon() -> None:
    """With silicon's lattice constant the angles must be those of its powder pattern (JCPDS 27-1402)."""
    points = dict(laws.bragg(subject(lattice_constant="0.54309")).points)
    for squares, published in ((3, 28.443), (8, 47.304), (11, 56.123)):
        assert points[squares] == pytest.approx(published, abs=0.01)


def test_bragg_has_an_angle_for_every_subject() -> None:
    """The smallest lattice constant of any kind must still reflect the last plane: sin θ below 1."""
    smallest = min(
        p.low for kind in KINDS for p in kind.properties if p.name == "lattice constant" and kind.law == "bragg"
    )
    assert all(0 < angle < 180 for _, angle in laws.bragg(subject(lattice_constant=str(smallest))).points)


def test_band_edge_at_room_temperature() -> None:
    """At 300 K the gap must be the measured one, and 1.12 eV must absorb below 1107 nm."""
    law = laws.band_edge(subject(band_gap="1.12"))
    assert dict(law.points)[300] == pytest.approx(1.12)
    assert "1107 nm" in law.symbols
    gaps = [gap for _, gap in law.points]
    assert gaps == sorted(gaps, reverse=True)


def test_decay_after_one_half_life() -> None:
    """After one half-life half of the activity must be left, after two a quarter."""
    points = dict(laws.decay(subject(**{"half-life": "12"})).points)
    assert points[12] == pytest.approx(50)
    assert points[24] == pytest.approx(25)


def test_arrhenius_slope_is_the_activation_energy() -> None:
    """The slope of ln k over 1/T must give the activation energy back."""
    (t1, k1), *_, (t2, k2) = laws.arrhenius(subject(activation_energy="80")).points
    assert -8.314 * (math.log(k2) - math.log(k1)) / (1 / t2 - 1 / t1) == pytest.approx(80e3)


def test_conduction_passes_through_the_measured_value() -> None:
    """At 298 K the conductivity must be the one that the article states."""
    law = laws.conduction(subject(activation_energy="20", ionic_conductivity="5.5"))
    assert dict(law.points)[298] == pytest.approx(5.5)


def test_hall_petch_is_linear_in_the_inverse_root() -> None:
    """Strength over d^-1/2 must be a line through the stated strength at 20 µm."""
    points = laws.hall_petch(subject(yield_strength="300")).points
    assert dict(points)[20] == pytest.approx(300)
    slopes = {round((y2 - y1) / (x2**-0.5 - x1**-0.5), 6) for (x1, y1), (x2, y2) in pairwise(points)}
    assert len(slopes) == 1


def test_henderson_at_equal_parts() -> None:
    """With as much base as acid the pH must be the pKa, with ten times as much one more."""
    points = dict(laws.henderson(subject(acid_constant_pKa="7.2")).points)
    assert points[1] == pytest.approx(7.2)
    assert points[10] == pytest.approx(8.2)


def test_beer_lambert_in_plain_units() -> None:
    """10 µmol/L of a dye with 50000 L/(mol cm) in 1 cm must have an absorbance of 0.5."""
    assert dict(laws.beer_lambert(subject(molar_absorptivity="50000")).points)[10] == pytest.approx(0.5)


def test_dead_time_at_one_event_a_dead_time() -> None:
    """When one event a dead time arrives, half of them must be counted."""
    points = dict(laws.dead_time(subject(dead_time="20")).points)  # 20 µs: 50 events a millisecond
    assert points[50] == pytest.approx(25)


def test_michaelis_at_the_constant() -> None:
    """At a substrate equal to the Michaelis constant the rate must be half of the turnover number."""
    law = laws.michaelis(subject(Michaelis_constant="100", turnover_number="60"))
    assert dict(law.points)[100] == pytest.approx(30)


def test_curie_weiss_falls_off() -> None:
    """Twice as far above the Curie temperature the susceptibility must be half."""
    points = dict(laws.curie_weiss(subject(Curie_temperature="400")).points)
    assert points[420] == pytest.approx(2 * points[440]) == pytest.approx(1.2 / 20)


def test_darcy_of_one_darcy() -> None:
    """1 darcy (1000 mD) passes 9.87e-7 m/s of water at 100 kPa a metre, so 9.87 µm/s over 10 cm."""
    assert dict(laws.darcy(subject(permeability="1000")).points)[100] == pytest.approx(987, rel=1e-3)


def test_flory_fox_and_expansion() -> None:
    """Long chains must come near the limit, and 10 ppm/K over 100 K must be 0.1 %."""
    polymer = dict(laws.flory_fox(subject(glass_transition_temperature="100")).points)
    assert polymer[20] < polymer[320] < 100
    assert polymer[320] == pytest.approx(100, abs=0.5)
    ceramic = dict(laws.expansion(subject(thermal_expansion_coefficient="10")).points)
    assert ceramic[120] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0, "0"),
        (0.012345, "0.0123"),
        (1.5, "1.50"),
        (9.999, "10.0"),
        (123.4, "123"),
        (12345, "12300"),
        (-2.345, "-2.35"),
    ],
)
def test_numbers_have_three_digits(value: float, printed: str) -> None:
    """A computed number must be printed with three significant digits and no exponent."""
    assert laws.shown(value) == printed


def test_every_law_is_printed_with_finite_numbers() -> None:
    """For every subject the series must be finite, and x and y both change."""
    for one in catalogue(140, 9):
        printed = laws.law_of(one).printed()
        assert len({x for x, _ in printed}) == len(printed) >= 5, one.kind.noun
        assert len({y for _, y in printed}) > 1, one.kind.noun
        assert all(math.isfinite(float(value)) for point in printed for value in point)


def test_every_equation_is_typst_mathematics() -> None:
    """Each equation must be something that typst can set."""
    for one in catalogue(len(KINDS), 0):
        source = f"$ {laws.law_of(one).math} $".encode()
        assert typst.compile(source, format="pdf", ignore_system_fonts=True)[:5] == b"%PDF-"
