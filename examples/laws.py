"""The laws: one textbook relation for each kind of thing, computed from the subject's own values.

A law gives the equation (as typst mathematics and in a plain form), what its symbols mean, and a series of points, so
that the tables and figures of an article agree with the numbers in its sentences. All formulas are textbook forms.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from examples.facts import Subject

GAS = 8.314  # J/(mol K)
WAVELENGTH_NM = 0.15406  # copper K-alpha
PHOTON_EV_NM = 1239.84  # Planck's constant times the speed of light
PLANES = ((1, 1, 1), (2, 0, 0), (2, 2, 0), (3, 1, 1), (2, 2, 2))


@dataclass(frozen=True)
class Law:
    """An equation applied: `points` are (x, y); `names` and `units` are those of x and y."""

    title: str
    math: str
    plain: str
    symbols: str
    names: tuple[str, str]
    units: tuple[str, str]
    points: tuple[tuple[float, float], ...]

    def printed(self) -> tuple[tuple[str, str], ...]:
        """The points as they stand in a table: x as set, y with 3 significant digits, no exponents."""
        return tuple((f"{x:g}", shown(y)) for x, y in self.points)


def shown(value: float) -> str:
    """A number with 3 significant digits: 0.0123, 1.23, 12.3, 123, 1230."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def _points(xs: Sequence[float], law: Callable[[float], float]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), law(x)) for x in xs)


def hall_petch(s: Subject) -> Law:
    """Yield strength against grain size; the friction stress is 40 % of the strength at 20 µm."""
    strength = s.number("yield strength")
    slope = 0.6 * strength * math.sqrt(20)
    return Law(
        "grain size and strength", "sigma = sigma_0 + k / sqrt(d)", "σ = σ0 + k / √d",
        "where σ0 is the friction stress, d the grain size and k a constant of the alloy",
        ("grain size", "yield strength"), ("µm", "MPa"),
        _points((2, 5, 10, 20, 50, 100), lambda d: 0.4 * strength + slope / math.sqrt(d)),
    )  # fmt: skip


def bragg(s: Subject) -> Law:
    """Angles of a cubic lattice's first reflections."""
    a = s.number("lattice constant")

    def angle(n: float) -> float:
        return 2 * math.degrees(math.asin(WAVELENGTH_NM * math.sqrt(n) / (2 * a)))

    return Law(
        "lattice and reflections", "n lambda = 2 d sin theta", "n λ = 2 d sin θ",
        f"where d is the spacing of the planes, θ the angle and λ the wavelength of {WAVELENGTH_NM} nm",
        ("sum of squared indices", "angle 2θ"), ("", "degrees"),
        _points([sum(i * i for i in plane) for plane in PLANES], angle),
    )  # fmt: skip


def band_edge(s: Subject) -> Law:
    """Band gap against temperature (Varshni) with a coefficient of 0.4 meV/K."""
    gap = s.number("band gap")
    at_zero = gap + 4e-4 * 300**2 / 500
    return Law(
        "band gap and temperature", "E(T) = E_0 - (alpha T^2) / (T + beta)", "E(T) = E0 - α T² / (T + β)",
        f"where E0 is the gap at rest and α and β are constants; at 300 K light below {PHOTON_EV_NM / gap:.0f} nm is absorbed",
        ("temperature", "band gap"), ("K", "eV"),
        _points((50, 100, 150, 200, 250, 300), lambda t: at_zero - 4e-4 * t**2 / (t + 200)),
    )  # fmt: skip


def expansion(s: Subject) -> Law:
    """Relative length against temperature."""
    alpha = s.number("thermal expansion coefficient")
    return Law(
        "length and temperature", "(Delta L) / L = alpha Delta T", "ΔL / L = α ΔT",
        "where L is the length, α the expansion coefficient and ΔT the rise above 20 °C",
        ("temperature", "relative change of length"), ("°C", "%"),
        _points((120, 220, 420, 620, 820), lambda t: alpha * 1e-4 * (t - 20)),
    )  # fmt: skip


def flory_fox(s: Subject) -> Law:
    """Glass transition against chain length; the constant is 900 K kg/mol."""
    limit = s.number("glass transition temperature")
    return Law(
        "chain length and glass transition", "T_g = T_infinity - K / M", "Tg = T∞ - K / M",
        "where T∞ is the limit for long chains, M the molar mass and K a constant",
        ("molar mass", "glass transition temperature"), ("kg/mol", "°C"),
        _points((20, 40, 80, 160, 320), lambda m: limit - 90 / m),
    )  # fmt: skip


def arrhenius(s: Subject) -> Law:
    """Rate constant against temperature, relative to 500 K."""
    energy = 1000 * s.number("activation energy")
    return Law(
        "rate and temperature", "k = A exp(-E_a / (R T))", "k = A exp(-Ea / (R T))",
        f"where Ea is the activation energy, R the gas constant ({GAS} J/(mol K)) and T the temperature",
        ("temperature", "relative rate"), ("K", ""),
        _points((460, 480, 500, 520, 540), lambda t: math.exp(-energy / GAS * (1 / t - 1 / 500))),
    )  # fmt: skip


def beer_lambert(s: Subject) -> Law:
    """Absorbance of a 1 cm cell against concentration."""
    epsilon = s.number("molar absorptivity")
    return Law(
        "absorbance and concentration", "A = epsilon c l", "A = ε c l",
        "where ε is the molar absorptivity, c the concentration and l the path of 1 cm",
        ("concentration", "absorbance"), ("µmol/L", ""),
        _points((2, 5, 10, 15, 20), lambda c: epsilon * c * 1e-6),
    )  # fmt: skip


def decay(s: Subject) -> Law:
    """Activity left after some time."""
    half = s.number("half-life")
    return Law(
        "activity and time", "A(t) = A_0 exp(-(ln 2) t / T_(1\\/2))", "A(t) = A0 exp(-(ln 2) t / T½)",
        "where A0 is the activity at the start and T½ the half-life",
        ("time", "activity left"), ("h", "%"),
        _points((1, 3, 6, 12, 24, 48), lambda t: 100 * 0.5 ** (t / half)),
    )  # fmt: skip


def conduction(s: Subject) -> Law:
    """Ionic conductivity against temperature, through the value at 298 K."""
    energy, at_298 = 1000 * s.number("activation energy"), s.number("ionic conductivity")
    return Law(
        "conductivity and temperature", "kappa = kappa_0 exp(-E_a / (R T))", "κ = κ0 exp(-Ea / (R T))",
        f"where Ea is the activation energy, R the gas constant ({GAS} J/(mol K)) and κ0 the limit at high temperature",
        ("temperature", "ionic conductivity"), ("K", "mS/cm"),
        _points((268, 278, 298, 318, 338), lambda t: at_298 * math.exp(-energy / GAS * (1 / t - 1 / 298))),
    )  # fmt: skip


def henderson(s: Subject) -> Law:
    """Acidity (pH) against the ratio of base to acid."""
    pka = s.number("acid constant pKa")
    return Law(
        "mixing ratio and pH", '"pH" = "p"K_a + log_10 (["A"^-] / ["HA"])', "pH = pKa + log10([A-] / [HA])",
        "where [A-] and [HA] are the concentrations of base and acid",
        ("ratio of base to acid", "pH"), ("", ""),
        _points((0.1, 0.5, 1, 2, 10), lambda r: pka + math.log10(r)),
    )  # fmt: skip


def curie_weiss(s: Subject) -> Law:
    """Inverse susceptibility above the Curie temperature, with a Curie constant of 1.2 K."""
    curie = s.number("Curie temperature")
    return Law(
        "susceptibility and temperature", "chi = C / (T - T_C)", "χ = C / (T - Tc)",
        "where C is the Curie constant and Tc the Curie temperature",
        ("temperature", "susceptibility"), ("K", ""),
        _points([curie + step for step in (20, 40, 80, 120, 160)], lambda t: 1.2 / (t - curie)),
    )  # fmt: skip


def dead_time(s: Subject) -> Law:
    """Rate shown by a counter that is not paralysed, against the true rate."""
    tau = s.number("dead time") * 1e-6
    return Law(
        "true rate and shown rate", "m = n / (1 + n tau)", "m = n / (1 + n τ)",
        "where n is the true rate, m the rate that is shown and τ the dead time",
        ("true rate", "shown rate"), ("1/ms", "1/ms"),
        _points((1, 5, 10, 20, 50), lambda n: n / (1 + 1000 * n * tau)),
    )  # fmt: skip


def michaelis(s: Subject) -> Law:
    """Rate a site against substrate."""
    km, kcat = s.number("Michaelis constant"), s.number("turnover number")
    return Law(
        "rate and substrate", 'v = (k_"cat" E S) / (K_M + S)', "v = kcat E S / (KM + S)",
        "where S is the substrate, E the enzyme, KM the Michaelis constant and kcat the turnover number",
        ("substrate", "rate"), ("µmol/L", "1/s"),
        _points([10, 50, 100, 500, 1000], lambda c: kcat * c / (km + c)),
    )  # fmt: skip


def darcy(s: Subject) -> Law:
    """Flow of water through 10 cm of stone; 1 mD is 9.87e-16 m²."""
    k = s.number("permeability") * 9.87e-16
    return Law(
        "flow and pressure", "q = - k / mu (Delta p) / L", "q = -(k / µ) (Δp / L)",
        "where k is the permeability, µ the viscosity of water (1 mPa s), Δp the pressure drop and L the length of 10 cm",
        ("pressure drop", "flow velocity"), ("kPa", "µm/s"),
        _points((10, 20, 50, 100, 200), lambda p: k / 1e-3 * p * 1e3 / 0.1 * 1e6),
    )  # fmt: skip


LAWS: dict[str, Callable[[Subject], Law]] = {
    "hall-petch": hall_petch, "bragg": bragg, "band-edge": band_edge, "expansion": expansion, "flory-fox": flory_fox,
    "arrhenius": arrhenius, "beer-lambert": beer_lambert, "decay": decay, "conduction": conduction,
    "henderson": henderson, "curie-weiss": curie_weiss, "dead-time": dead_time, "michaelis": michaelis, "darcy": darcy,
}  # fmt: skip


def law_of(subject: Subject) -> Law:
    """The law of a subject's kind, applied to it."""
    return LAWS[subject.kind.law](subject)
