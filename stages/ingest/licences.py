"""Licences as SPDX identifiers: URLs and common spellings of Creative Commons and a few software licences.

A spelling that is not known stays as it was written, so that an allow-list refuses it in words that people recognise.
Identifiers: https://spdx.org/licenses/
"""

import re

CC_URL = re.compile(r"creativecommons\.org/licen[sc]es/(by(?:-nc)?(?:-nd|-sa)?)/(\d\.\d)", re.IGNORECASE)
CC_WORDS = re.compile(
    r"^cc[\s-]*(by(?:[\s-]*nc)?(?:[\s-]*(?:nd|sa))?)[\s-]*v?(\d\.\d)(?:\s*(?:international|unported))?$", re.IGNORECASE
)
CC_NAME = re.compile(
    r"creative commons attribution((?:[\s-]*(?:non-?commercial|no-?deriv(?:ative)?s|share-?alike))*)\s*v?(\d\.\d)",
    re.IGNORECASE,
)
CC0 = re.compile(r"creativecommons\.org/publicdomain/zero/1\.0|^cc[\s-]*0([\s-]*1\.0)?(\s*universal)?$", re.IGNORECASE)
PUBLIC_DOMAIN_MARK = re.compile(r"creativecommons\.org/publicdomain/mark/1\.0", re.IGNORECASE)
SOFTWARE = {
    re.compile(
        r"apache\.org/licenses/license-2\.0|^apache([\s-]*licen[sc]e)?,?[\s-]*(version\s*)?2(\.0)?$"
    ): "Apache-2.0",
    re.compile(r"opensource\.org/licenses?/mit|^(the )?mit( licen[sc]e)?$"): "MIT",
    re.compile(r"^bsd[\s-]*3[\s-]*clause( licen[sc]e)?$"): "BSD-3-Clause",
    re.compile(r"^bsd[\s-]*2[\s-]*clause( licen[sc]e)?$"): "BSD-2-Clause",
}
CONDITIONS = (("noncommercial", "NC"), ("noderiv", "ND"), ("sharealike", "SA"))


def spdx(words: str) -> str | None:
    """`https://creativecommons.org/licenses/by/4.0/` -> `CC-BY-4.0`; unknown words as they are, none as `None`."""
    words = " ".join(words.split())
    if not words:
        return None
    if found := CC_URL.search(words) or CC_WORDS.match(words):
        kind = re.sub(r"[\s-]+", "-", re.sub(r"(?<=by)(?=n|s)|(?<=nc)(?=n|s)", "-", found[1].lower()))
        return f"CC-{kind.upper()}-{found[2]}"
    if found := CC_NAME.search(words):
        conditions = found[1].lower().replace("-", "").replace(" ", "")
        return "-".join(["CC-BY", *(short for long, short in CONDITIONS if long in conditions), found[2]])
    if CC0.search(words):
        return "CC0-1.0"
    if PUBLIC_DOMAIN_MARK.search(words):
        return "CC-PDM-1.0"
    return next((name for pattern, name in SOFTWARE.items() if pattern.search(words.lower())), words)
