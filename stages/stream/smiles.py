"""Is a word a SMILES string? By the grammar (OpenSMILES 1.0), and by what tells one from an acronym or a ratio.

A word is one if all of it is atoms, bonds, branches and ring closures, branches and rings close, rings have three atoms or
more and no halogen, aromatic atoms and written single bonds come only with rings, and it shows structure: a double or
triple bond, a branch, a ring or a bracket. Other valences are not checked. Given up: chains without structure (`CCO`),
which cannot be told from words, and strings of under five characters (`C=O`).
"""

import re
from collections import Counter

ATOM = re.compile(
    r"\[(?:\d+)?(?:[A-Z][a-z]?|[bcnops]|as|se)(?:@{1,2})?(?:H\d*)?(?:\+{1,3}|-{1,3}|[+-]\d)?(?::\d+)?\]"
    r"|[BCNOPS]|[bcnops]"
)
SYMBOL = re.compile(
    rf"(?P<halogen>Cl|Br|[FI])|(?P<atom>{ATOM.pattern})|(?P<ring>\d|%\d\d)|(?P<bond>[-=#:/\\])|(?P<open>\()|(?P<close>\))|(?P<dot>\.)"
)
MIN_ATOMS = 3

# What may stand after what; a word begins as after a dot and may end where a dot may stand.
ATOMS = {"atom", "halogen"}
FOLLOWS = {
    "dot": ATOMS,
    "atom": ATOMS | {"ring", "bond", "open", "close", "dot"},
    "halogen": ATOMS | {"bond", "open", "close", "dot"},  # in the middle of a perchlorate, say; never in a ring
    "ring": ATOMS | {"ring", "bond", "open", "close", "dot"},
    "bond": ATOMS | {"ring"},
    "open": ATOMS | {"bond"},
    "close": ATOMS | {"bond", "open", "close", "dot"},
}


def is_smiles(word: str) -> bool:
    """Say whether a word without white space is a SMILES string."""
    symbols = list(SYMBOL.finditer(word))
    if sum(len(s[0]) for s in symbols) != len(word) or not _in_order(symbols) or not _rings_close(symbols):
        return False
    kinds = Counter(str(s.lastgroup) for s in symbols)
    atoms = [s[0] for s in symbols if s.lastgroup in ATOMS]
    single = any(s.lastgroup == "bond" and s[0] == "-" for s in symbols)  # written out only between rings
    if not kinds["ring"] and (single or any(a[0].islower() for a in atoms)):
        return False
    if any(b in word for b in "/\\") and "=" not in word:  # they say on which sides of a double bond atoms are
        return False
    brackets = sum(a[0] == "[" for a in atoms)
    structure = kinds["open"] + kinds["ring"] + brackets + word.count("=") + word.count("#")
    return structure > 0 and len(atoms) >= (2 if brackets else MIN_ATOMS)


def _in_order(symbols: list[re.Match[str]]) -> bool:
    depth, before = 0, "dot"
    for symbol in symbols:
        kind = str(symbol.lastgroup)
        if kind not in FOLLOWS[before]:
            return False
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            return False
        before = kind
    return depth == 0 and "dot" in FOLLOWS[before]


def _rings_close(symbols: list[re.Match[str]]) -> bool:
    num_atoms, opened = 0, dict[str, int]()
    for symbol in symbols:
        num_atoms += symbol.lastgroup in ATOMS
        if symbol.lastgroup == "ring" and symbol[0] not in opened:
            opened[symbol[0]] = num_atoms
        elif symbol.lastgroup == "ring" and num_atoms - opened.pop(symbol[0]) < MIN_ATOMS - 1:
            return False
    return not opened
