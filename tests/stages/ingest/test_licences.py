"""Licences as SPDX identifiers."""

import pytest

from stages.ingest.licences import spdx

SPDX_IDS = {  # https://spdx.org/licenses/, version 3.25
    "CC-BY-4.0", "CC-BY-3.0", "CC-BY-2.5", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-SA-3.0",
    "CC-BY-NC-ND-4.0", "CC0-1.0", "CC-PDM-1.0", "Apache-2.0", "MIT", "BSD-3-Clause",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("http://creativecommons.org/licenses/by/3.0", "CC-BY-3.0"),
        ("https://creativecommons.org/licenses/by/2.5/legalcode", "CC-BY-2.5"),
        ("https://www.creativecommons.org/licenses/by-nc-nd/4.0/deed.de", "CC-BY-NC-ND-4.0"),
        ("http://creativecommons.org/licenses/by-nc-sa/3.0/igo/", "CC-BY-NC-SA-3.0"),
        ("https://creativecommons.org/licences/by-sa/4.0/", "CC-BY-SA-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("Released under http://creativecommons.org/licenses/by/4.0/, which permits reuse.", "CC-BY-4.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("CC BY-NC 4.0 International", "CC-BY-NC-4.0"),
        ("CC-BY-NC-SA-3.0", "CC-BY-NC-SA-3.0"),
        ("CC0", "CC0-1.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("Creative Commons Attribution 4.0 International License", "CC-BY-4.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 3.0", "CC-BY-NC-SA-3.0"),
        ("Creative Commons Attribution-NoDerivatives 4.0", "CC-BY-ND-4.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("The MIT License", "MIT"),
        ("BSD 3-Clause License", "BSD-3-Clause"),
    ],
)
def test_known_spellings_become_spdx(words: str, expected: str) -> None:
    """A URL or a common spelling becomes the identifier of the SPDX list."""
    assert expected in SPDX_IDS
    assert spdx(words) == expected
    assert spdx(expected) == expected


def test_unknown_words_stay() -> None:
    """What is not known stays as it was written, and nothing is `None`: no licence is made up."""
    assert spdx("All rights  reserved") == "All rights reserved"
    assert spdx("CC BY") == "CC BY"
    assert spdx("permitted") == "permitted"
    assert spdx(" \n") is None
