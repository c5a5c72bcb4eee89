"""SMILES are told from words, formulas and ratios."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.stream.smiles import is_smiles

COMPOUNDS = Path(__file__).parents[4] / "shared" / "data" / "records" / "compounds-600.jsonl"


@pytest.fixture(scope="module")
def compounds() -> list[dict[str, Any]]:
    """Read 600 compounds of PubChem."""
    if not COMPOUNDS.exists():
        pytest.skip("the set of compounds is not on this machine")
    return [json.loads(line) for line in COMPOUNDS.read_text().splitlines()]


@pytest.mark.parametrize(
    "word",
    [
        "CC(=O)Oc1ccccc1C(=O)O",  # aspirin
        "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",  # caffeine
        "F/C=C/F",
        "N[C@@H](C)C(=O)O",
        "[Na+].[Cl-]",
        "C1CCCCC1",
        "c1ccc2[nH]ccc2c1",
        "c1ccccc1-c1ccccc1",
        "C%12CCCCC%12",
        "[O-][N+](=O)c1ccccc1",
        "OCl(=O)(=O)=O",
        "CC#N.[13CH4]",
    ],
)
def test_is_one(word: str) -> None:
    """Strings of the OpenSMILES grammar with some structure are SMILES."""
    assert is_smiles(word)


@pytest.mark.parametrize(
    "word",
    [
        "COOH", "CO2", "SNP(s)", "NO3-", "C/N/P", "F2O2S", "C5Cl5N", "IPCC(", "(CO)", "C1-C2", "[60]", "[Ca2+]", "BC)", "CC(=O",
        "C1CC", "CC=", "=CC", "CC(=O)O1", "ccc", "C()C", "C((C))", "hello", "12345", "10.1186/s12870", "N=12345", "", "...",
        "FC1F1", "C..C", "BC(B-C)",
    ],
)  # fmt: skip
def test_is_none(word: str) -> None:
    """Acronyms, formulas, ratios, references and broken strings are not."""
    assert not is_smiles(word)


def test_recall_on_compounds(compounds: list[dict[str, Any]]) -> None:
    """Of real compounds 98 % are known; what is missed are single atoms and chains without structure."""
    missed = [c["smiles"] for c in compounds if not is_smiles(c["smiles"])]
    assert len(missed) <= 0.02 * len(compounds)
    assert all(set(smiles) <= set("CNOSIBrl") or smiles.count("[") == 1 for smiles in missed)


def test_precision_on_names(compounds: list[dict[str, Any]]) -> None:
    """None of the 7,400 words in names, synonyms, formulas, InChI and registry numbers of the same compounds is SMILES."""
    keys = ("iupac_name", "name", "formula", "cas", "inchi", "inchikey")
    texts = [c[key] for c in compounds for key in keys] + [s for c in compounds for s in c["synonyms"]]
    words = {word for text in texts for word in text.split()}
    assert len(words) > 7000
    assert [word for word in words if is_smiles(word)] == []
