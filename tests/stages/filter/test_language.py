"""The vote on a language."""

import pytest

from stages.filter.language import MAX_PIECES, PIECE_CHARS, LanguageVote, pieces

CHINESE = (
    "本文研究了高温下盐类晶体的结构变化。实验结果表明，当温度升高到一定程度时，晶体的颜色变白，密度下降。"
    "我们使用第二个炉子进行了相同的测量，因此可以排除温度计的误差。该模型能够很好地描述这些数据，并且不需要更多的假设。"
)


@pytest.fixture(scope="module")
def vote() -> LanguageVote:
    """Load the model once."""
    return LanguageVote()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Les échantillons ont été séchés à l'air pendant deux jours, puis pesés de nouveau."),
        ("es", "Las muestras se secaron al aire durante dos días y después se pesaron otra vez."),
        ("ru", "Образцы сушили на воздухе в течение двух дней, а затем снова взвешивали."),
        ("zh", CHINESE),
    ],
)
def test_languages(vote: LanguageVote, language: str, text: str) -> None:
    """A sentence or two are known for their language."""
    assert vote(text)[0] == language
    assert vote(text)[1] > 0.8


def test_more_than_the_beginning_counts(vote: LanguageVote, english: str, german: str) -> None:
    """A foreign first paragraph (the library alone looks at 80 characters) does not decide."""
    text = german[:150] + "\n\n" + "\n\n".join([english] * 4)
    assert vote(text)[0] == "en"
    assert vote(german + "\n\n" + english[:200])[0] == "de"


def test_tables_do_not_decide(vote: LanguageVote, english: str) -> None:
    """A paper whose larger half is numbers and symbols keeps its language, and clearly so."""
    table = "\n".join(f"{i} | {i * 1.37:.2f} ± 0.0{i % 10} | −{i}e-3 | n/a" for i in range(150))
    language, share = vote(english + "\n\n" + table)
    assert (language, share > 0.65) == ("en", True)


@pytest.mark.parametrize("text", ["", "1 2 3 4.5", "± = → 10 %", "https://example.org/a a.b@example.org"])
def test_no_letters_no_language(vote: LanguageVote, text: str) -> None:
    """Where nothing is written in a language, none is found."""
    assert vote(text) == ("", 0.0)


def test_wrongly_mapped_letters_win_no_clear_vote(vote: LanguageVote, english: str) -> None:
    """Text under another alphabet's letters, as a broken font map gives it, has no clear language."""
    mapped = english.translate({97 + i: 97 + (i * 7 + 3) % 26 for i in range(26)})
    assert vote(mapped)[1] < 0.65 < vote(english)[1]


@pytest.mark.parametrize("length", [1, 499, 500, 501, 3_999, 4_001, 100_000])
def test_pieces_are_few_and_spread(length: int) -> None:
    """A text of any length gives at most the pieces allowed, the first from its start and the last near its end."""
    text = "".join(chr(0x4E00 + i // 100 % 20_000) for i in range(length))
    cut = pieces(text)
    assert len(cut) <= MAX_PIECES
    assert all(len(piece) <= PIECE_CHARS for piece in cut)
    assert cut[0].startswith(text[:50])
    assert len(cut) == 1 or text.rindex(cut[-1][0]) >= length * (1 - 1.01 / len(cut)) - PIECE_CHARS
