"""Invented science of a page's length: sentences with numbers, units, Greek letters, formulae and citations, and blocks.

What is said is nonsense with the letters and the items of real papers: the router is to learn what parsers do to them.
All is drawn from one random generator, so that a seed is a page.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


def _words(text: str, separator: str = " ") -> list[str]:
    return text.split(separator)


NOUNS = _words(
    "membrane lattice enzyme catalyst spectrum receptor polymer electrode sediment galaxy genome protein "
    "cohort crystal plasma soil reactor neuron alloy film solvent substrate antibody vaccine mutation "
    "transcript residue oxide surface interface gradient diffusion absorption conductivity viscosity "
    "permeability expression inhibition concentration temperature pressure frequency amplitude velocity "
    "density porosity turbulence correlation variance regression likelihood distribution network sample "
    "specimen mixture suspension solution buffer column detector sensor beam filament tissue culture "
    "colony biofilm plankton forest canopy glacier aquifer basin fault magma isotope"
)
ADJECTIVES = _words(
    "thermal optical magnetic elastic nonlinear transient anisotropic heterogeneous significant marginal "
    "robust effective residual dominant specific aqueous crystalline amorphous metallic organic synthetic"
    " recombinant chronic acute clinical longitudinal spatial temporal seasonal regional microscopic "
    "macroscopic quantitative qualitative experimental"
)
VERBS = _words(
    "increased decreased shifted broadened vanished saturated oscillated correlated differed recovered "
    "declined agreed persisted emerged stabilized accumulated degraded dissolved precipitated diffused"
)
METHODS = _words(
    "X-ray diffraction;mass spectrometry;liquid chromatography;electron microscopy;flow cytometry;Raman "
    "spectroscopy;quantitative PCR;differential scanning calorimetry;atomic force "
    "microscopy;finite-element analysis;Monte Carlo simulation;mixed-effects regression;fluorescence "
    "imaging;isothermal titration",
    ";",
)
NAMES = _words("Okafor Lindqvist Marchetti Tanaka Oyelaran Petrov Schneider Almeida Kowalski Haddad Nguyen Fitzgerald")
MOLECULES = _words("H2O CO2 NaCl Fe2O3 TiO2 CaCO3 C6H12O6 H2SO4 LiFePO4 NH3 SiO2 Al2O3 KNO3 ZnO BaTiO3 CH4 N2O MgCl2")
GENES = _words("TP53 BRCA1 CDK4 IL6 MAPK1 GAPDH2 FOXP3 HLA2 SOX9 NFKB1")
UNITS = _words(
    "nm;µm;mm;cm;kg;mg/L;mol/L;kJ/mol;MPa;GPa;W/(m K);°C;K;Hz;kHz;eV;mV;%;s;min;h;mL;µg/mL;kPa",
    ";",
)
TERMS = _words(
    "mRNA DNA pH PubMed GitHub RNA-seq NaN MATLAB eLife PhD McNemar JavaScript IgG qPCR UniProt FDA WHO HIV-1 ad-hoc in-vitro "
    "non-linear state-of-the-art e.g. i.e. vs. approx. Fig. et ca. cf. ANOVA MSc iOS OpenMP LaTeX NumPy log10 F-statistic"
)
PLACES = _words(
    "Aarhus Bologna Cusco Dakar Espoo Fukuoka Graz Hanoi Izmir Jaipur Kigali Leuven Malmö Nîmes Osório Plzeň"
)
GREEK = "αβγδεζηθκλμνξπρστφχψω"
FACE = {"sub": "₀₁₂₃₄₅₆₇₈₉", "sup": "⁰¹²³⁴⁵⁶⁷⁸⁹"}

Kind = Literal["title", "heading", "text", "equation", "table", "figure", "photo", "caption", "list"]


@dataclass(frozen=True)
class Block:
    """A part of a page: `text` is what a reader should give, `rows` a table's cells."""

    kind: Kind
    text: str
    rows: tuple[tuple[str, ...], ...] = ()


class Writer:
    """Draws blocks from a generator of random numbers."""

    def __init__(self, seed: str) -> None:
        rng = self.rng = random.Random(seed)
        self.draw: dict[str, Callable[[], str]] = {
            "adj": self._adjective, "noun": self._noun, "verb": lambda: rng.choice(VERBS), "cite": self._cited,
            "method": lambda: rng.choice(METHODS), "mol": lambda: rng.choice(MOLECULES), "p": self._power,
            "gene": lambda: rng.choice(GENES), "g": lambda: rng.choice(GREEK), "u": lambda: rng.choice(UNITS),
            "n": self._decimal, "m": self._decimal, "s": lambda: f"{rng.uniform(0, 2):.2f}",
            "term": lambda: rng.choice(TERMS), "name": lambda: rng.choice(NAMES), "pv": lambda: f"0.0{rng.randrange(10, 99)}",
            "k": lambda: str(rng.randrange(2, 400)), "fold": lambda: f"{rng.uniform(1, 9):.1f}",
            "pct": lambda: str(rng.randrange(5, 99)),
        }  # fmt: skip

    def __getitem__(self, name: str) -> str:
        """A new word for each name in a sentence's form; `noun2` is another noun."""
        return self.draw[name if name in self.draw else name.rstrip("23")]()

    def blocks(self, count: int) -> list[Block]:
        """A page's blocks, about `count` of them, figures with their captions."""
        draw = ("text",) * 8 + ("heading", "equation", "equation", "table", "figure", "list", "reference", "address")
        start = self.rng.random()
        if start < 0.12:  # the last page of a paper
            return [Block("heading", "References"), *(self.reference() for _ in range(3 * count))]
        found = [self.title(), self.address(), self.address()] if start < 0.3 else []
        while len(found) < count:
            found += self._drawn(self.rng.choice(draw))
        return found

    def title(self) -> Block:
        """A paper's title."""
        return Block("title", f"{self._noun().capitalize()} {self._noun()} in {self._adjective()} {self._noun()}s")

    def _drawn(self, kind: str) -> list[Block]:
        match kind:
            case "table":
                return [self._caption("Table"), self.table()]
            case "figure":
                return [Block(self.rng.choice(("figure", "photo")), ""), self._caption("Figure")]
            case "reference":
                return [self.reference() for _ in range(self.rng.randrange(2, 5))]
            case "list":
                return [Block("list", self.sentence()) for _ in range(self.rng.randrange(2, 4))]
        single = {"heading": self._heading, "equation": self.equation, "address": self.address, "text": self.paragraph}
        return [single[kind]()]

    def reference(self) -> Block:
        """An entry of a list of references."""
        rng = self.rng
        people = ", ".join(f"{rng.choice(NAMES)} {self._initials()}" for _ in range(rng.randrange(1, 5)))
        title = f"{self._adjective().capitalize()} {self._noun()} and {rng.choice(TERMS)} of the {self._noun()}"
        first = rng.randrange(10, 2000)
        where = f"J. {self._noun().capitalize()} Sci. {rng.randrange(1980, 2026)};{rng.randrange(1, 90)}({rng.randrange(1, 12)})"
        link = rng.choice(
            (f" doi:10.{rng.randrange(1000, 9999)}/{self._code()}", f" https://{self._code()}.org/{self._code()}", "")
        )
        return Block(
            "list", f"{rng.randrange(1, 90)}. {people}. {title}. {where}:{first}–{first + rng.randrange(2, 20)}.{link}"
        )

    def address(self) -> Block:
        """Where authors work and how to reach them, or the small print of a journal."""
        rng, name = self.rng, self.rng.choice(NAMES)
        digits = [rng.randrange(1000, 9999) for _ in range(3)]
        address = f"{self._initials()} {name}, Department of {self._noun().capitalize()} Research, University of "
        address += (
            f"{rng.choice(PLACES)}, {digits[0]} {rng.choice(PLACES)}. E-mail: {name.lower()}@{self._code()}.edu. "
        )
        address += f"ORCID: 0000-0002-{digits[1]}-{digits[2]}"
        licence = f"Received {rng.randrange(1, 28)} May {rng.randrange(1990, 2026)}; © The Author(s), CC BY 4.0, "
        licence += f"http://{self._code()}.org/licenses/by/4.0/ (ISSN {digits[0]}-{digits[1]})."
        code = (
            f"The code ({self._code()}.py, v{rng.randrange(1, 9)}.{rng.randrange(20)}) is at https://{self._code()}.io/"
        )
        code += f"{self._code()}_{name} under the MIT licence; see also {rng.choice(TERMS)} and {rng.choice(TERMS)}."
        return Block("text", rng.choice((address, licence, code)))

    def _initials(self) -> str:
        return " ".join(
            self.rng.choice("ABCDEFGHJKLMNPRSTW") + self.rng.choice((".", "")) for _ in range(self.rng.randrange(1, 3))
        )

    def _code(self) -> str:
        letters = "abcdefghijklmnopqrstuvwxyz0123456789-_."
        inner = "".join(self.rng.choice(letters) for _ in range(self.rng.randrange(1, 6)))
        return self._noun()[:4] + inner + self.rng.choice(letters[:26])

    def paragraph(self) -> Block:
        """Two to six sentences."""
        return Block("text", " ".join(self.sentence() for _ in range(self.rng.randrange(2, 7))))

    def equation(self) -> Block:
        """An equation on a line of its own."""
        a, b = self.rng.sample(GREEK, 2)
        form = self.rng.choice(("{a} = {n} {b} + {m}", "{a} = {n} − {m} {b}", "{a} ≈ {n} × 10{p}", "Δ{a} ≤ {n} ± {m}"))
        return Block("equation", form.format(a=a, b=b, n=self._decimal(), m=self._decimal(), p=self._power()))

    def table(self) -> Block:
        """A table of numbers with a head."""
        columns = self.rng.randrange(3, 6)
        head = ("Sample", *(f"{self._noun()} ({self.rng.choice(UNITS)})" for _ in range(columns - 1)))
        names = self.rng.sample(MOLECULES, self.rng.randrange(3, 8))
        rows = (head, *((name, *(self._decimal() for _ in range(columns - 1))) for name in names))
        return Block("table", "\n".join(" ".join(row) for row in rows), rows)

    def _heading(self) -> Block:
        return Block("heading", f"{self.rng.randrange(1, 7)}. {self._adjective().capitalize()} {self._noun()}")

    def _caption(self, label: str) -> Block:
        return Block("caption", f"{label} {self.rng.randrange(1, 9)}. {self.sentence()}")

    def sentence(self) -> str:
        """One sentence with, mostly, something to measure in it."""
        form = self.rng.choice((
            "The {adj} {noun} {verb} by {n} {u} when the {noun2} was held at {m} {u2} {cite}.",
            "Using {method}, we found that {mol} {verb} with a {noun} of {n} ± {s} {u}.",
            "A {noun} of {n} × 10{p} {u} was observed, in agreement with {name} {cite}.",
            "The {noun} of the {adj} {noun2} {verb}, and no {adj2} effect was seen (p = {pv}, n = {k}).",
            "Expression of {gene} {verb} {fold}-fold relative to the {noun}, whereas {gene2} {verb} only in the {adj} {noun2}.",
            "Here {g} denotes the {adj} {noun}, and {g2} = {n} is its {noun2}.",
            "These {noun}s, which are {adj} and {adj2}, have been described by means of {method} {cite}.",
            "However, the {noun} {verb} much more slowly than the {noun2}, which suggests a {adj} {noun3}.",
            "After {k} h in {mol} at −{k2} °C, the {noun} {verb} to {pct} % of its first value.",
            "We therefore fitted the {adj} model to the {noun} data of {k} {noun2}s {cite}.",
            "{name} and {name2} ({term}, {term2}) compared {noun}s by {method}, {term3} the {adj} {noun2} (N = {k}).",
            "This {noun} is part of {term} and was {adj}; its {noun2} ({term2}) is not, as {name} notes {cite}.",
        ))  # fmt: skip
        return form.format_map(self)

    def _noun(self) -> str:
        return self.rng.choice(NOUNS)

    def _adjective(self) -> str:
        return self.rng.choice(ADJECTIVES)

    def _decimal(self) -> str:
        places = self.rng.randrange(4)
        return f"{self.rng.uniform(-1 if places > 2 else 0, 10 ** self.rng.randrange(4)):.{places}f}".replace("-", "−")

    def _power(self) -> str:
        sign, digits = self.rng.choice(("⁻", "")), str(self.rng.randrange(2, 13))
        return sign + "".join(FACE["sup"][int(d)] for d in digits)

    def _cited(self) -> str:
        number = self.rng.randrange(1, 60)
        near = f"{self.rng.choice(NAMES)} et al., {self.rng.randrange(1985, 2026)}"
        return self.rng.choice(
            (f"[{number}]", f"[{number}, {number + 2}]", f"[{number}–{number + 3}]", f"({near})", "")
        )
