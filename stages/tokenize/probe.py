"""Texts on which an encoder that is not quite the reference is likely to give other ids."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HARD_TEXTS = (
    "",
    " ",
    "\n",
    " leading, trailing  ",
    "The yield was 12,345.67 ± 0.08 mg (n = 24); it's, they'll, I'D, we’ve.",
    "one\r\ntwo\r\r\nthree\n\n\n  \tfour \u00a0\u2009\u3000five\x0b\x0c\x85\u2028six   ",
    "\x00NUL\x00\x01\x1b[0m\x7f\ufeff\ufffd\ufffe\uffff",
    "e\u0301 é n\u0303o\u0308 \u0345\u0300 \u212b\u212a\u037e ﬁ ｆｕｌｌ ²³ ⅷ ½ ٣٤ 四五 𝟗𝟘",
    "α→β ∮E·da=Q ≤≥ µm Å 10⁻³ °C — – ‘ ’ “ ” …",
    "👩\u200d🔬 👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇨🇭 1️⃣ 😀😀",
    "שלום עולם مرحبا بالعالم \u202eabc\u202c हिन्दी ไทย 한국어 中文字符，日本語のテキスト。",
    "$\\frac{\\partial u}{\\partial t} = \\nabla^2 u$ \\begin{align*} a_{ij}&=b^{k}\\\\ \\end{align*}",
    "def f(x):\n\tif x>=10: return {'a': [x**2, 0x1F]}  # no\n\n    return None\nHTTPServer camelCase snake_case",
    "CC(=O)Oc1ccccc1C(=O)O N#Cc1ccc2[nH]c(=O)/C=C\\F ACGTACGTNNNN MKVLATQWERTY",
    "|a|b|\n|---|---|\n|1|2|\n!!!!????....----====____<<<>>> a.b,c;d:e <|endoftext|><s></s>[INST]",
    "x" * 700 + " " * 300 + "9" * 400 + "\n" * 100 + "ab" * 400,
)


def probe_texts(tokenizer: "Tokenizer") -> list[str]:
    """`HARD_TEXTS`, and the name of every added token alone, inside text and next to the others."""
    names = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return [*HARD_TEXTS, *names, *(f"a{name} b {name}\n{name}c" for name in names), "".join(names)]
