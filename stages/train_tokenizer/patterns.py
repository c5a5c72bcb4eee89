"""How text is cut before byte pairs are merged: no merge crosses a cut, so this decides what a token can be.

`whitespace`:
- `gpt2`: a word takes the space before it; all white space that is left over is one piece (Radford et al. 2019). Runs of
  newlines and the indentation after them become one token, so that code needs many such tokens.
- `code`: a run of white space ends with its newlines, so that indentation is a token of its own; punctuation keeps the
  newlines after it; contractions in any case. The pattern of GPT-4, as Llama 3 (Grattafiori et al. 2024) and Qwen 2 have it.
- `lines`: words as in `code`, but a newline is a token by itself, so that a token is on one line: for tables and records,
  whose lines mean something. More tokens.

`digits`:
- `single`: each digit apart, so that a number is its digits (Llama 1 and 2, Qwen 2). Most tokens, and arithmetic is best
  learned from it by small models (Nogueira et al. 2021).
- `triples`: threes from the left, as GPT-4 and Llama 3: a third of the tokens, but 1234 is 123 4.
- `thousands`: threes from the right, so that places agree: 1 234. Better at arithmetic than from the left (Singh and
  Strouse 2024). After a decimal point the threes still come from the right.
- `runs`: numbers are cut where BPE finds it useful, as GPT-2.

What a digit may not do is join a space or a letter (`runs` of `gpt2` apart). Given up: scripts that write vowels as
combining marks are cut at the marks, as GPT-2 and GPT-4 do. `gigatoken`, the fastest encoder, knows the patterns `code`
with `single` (Qwen 2) or `triples` (Llama 3), and `gpt2` with `runs`; the others take the next fastest.
"""

from tokenizers import Regex, pre_tokenizers

GPT2, LATER = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
DIGITS = {
    "single": r"\p{N}",
    "triples": r"\p{N}{1,3}",
    "thousands": r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
    "runs": r"\p{N}+",
}
WORDS = {"gpt2": GPT2, "code": LATER, "lines": LATER}
SPACES = {
    "gpt2": r" ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "code": r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "lines": r" ?[^\s\p{L}\p{N}]+|\r?\n|[^\S\r\n]+(?!\S)|\s",
}


def pattern(digits: str, whitespace: str) -> str:
    """Return the regular expression (Oniguruma) whose matches are the pieces of a text."""
    return f"{WORDS[whitespace]}|{DIGITS[digits]}|{SPACES[whitespace]}"


def pieces(digits: str, whitespace: str) -> pre_tokenizers.PreTokenizer:
    """Return the rule that cuts a text and writes its bytes as characters."""
    if (digits, whitespace) == ("runs", "gpt2"):  # written as every encoder knows it
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    cut = pre_tokenizers.Split(Regex(pattern(digits, whitespace)), behavior="isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
