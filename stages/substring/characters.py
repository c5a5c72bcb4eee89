"""What a character does to words, as an array that compiled code can index.

A word is a run of characters that are not white space, if one of them is a letter or a digit. Scripts that are written
without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) have a word a letter; what is put on a letter stays with it.
"""

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt

COUNT = 0x20000  # above are ideographs, and marks that no text depends on
MARK, SPACE, DIGIT, LETTER, ALONE = 0, 1, 2, 3, 4
UNSPACED = ((0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x2E80, 0xA000), (0xF900, 0xFB00), (0xFF66, 0xFFA0))
IDEOGRAPHS = (0x20000, 0x40000)  # planes 2 and 3


@lru_cache(maxsize=1)
def kinds() -> npt.NDArray[np.uint8]:
    """The kind of each code point below `COUNT` (u8), made once a process."""
    characters = list(map(chr, range(COUNT)))
    classes = np.array([unicodedata.category(c)[0] for c in characters])
    table = np.full(COUNT, MARK, np.uint8)
    table[classes == "N"], table[classes == "L"] = DIGIT, LETTER
    for low, high in UNSPACED:
        table[low:high][classes[low:high] == "L"] = ALONE
    table[[c.isspace() for c in characters]] = SPACE
    return table
