"""Standard errors of perplexities, and the unigram model that a language model has to beat.

A perplexity is a function of a ratio, r = (sum of negative log-likelihoods) / (sum of bytes or words), over documents
of unequal length. lm-eval gives no error for it. Documents are the independent units, so r has the variance of a ratio
estimator (Cochran, Sampling Techniques, 3rd ed., section 6.4),

    var(r) = n / (n - 1) * sum_i (y_i - r x_i)^2 / (sum_i x_i)^2,

and exp(r) and r / ln 2 have the errors exp(r) * se(r) and se(r) / ln 2 (delta method). What this gives up: with few
documents (below about 20) the error is itself uncertain, and exp is taken as straight over the error's width.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

LARGEST = math.log(sys.float_info.max)


def ratio_and_error(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float | None]:
    """The ratio of two sums over documents and its standard error, None for a single document."""
    n, total = len(numerators), math.fsum(denominators)
    ratio = math.fsum(numerators) / total
    if n < 2:
        return ratio, None
    squares = math.fsum((y - ratio * x) ** 2 for y, x in zip(numerators, denominators, strict=True))
    return ratio, math.sqrt(n / (n - 1) * squares) / total


def perplexity(log_likelihoods: Sequence[float], sizes: Sequence[float]) -> tuple[float, float | None]:
    """exp(r) and its standard error; `sizes` are words or bytes, a document each.

    Text without spaces is one word, whose perplexity may be more than a float holds: then infinity, with no error.
    """
    ratio, error = ratio_and_error([-x for x in log_likelihoods], sizes)
    if ratio > LARGEST:
        return math.inf, None
    return math.exp(ratio), None if error is None else math.exp(ratio) * error


def bits(log_likelihoods: Sequence[float], sizes: Sequence[float]) -> tuple[float, float | None]:
    """Bits a byte and their standard error."""
    ratio, error = ratio_and_error([-x for x in log_likelihoods], sizes)
    return ratio / math.log(2), None if error is None else error / math.log(2)


def unigram_bits(tokens: Iterable[Sequence[int]], num_bytes: float) -> float:
    """Bits a byte of the best unigram model of a text: the entropy of its own token counts, in the model's tokens."""
    counts = Counter(t for document in tokens for t in document)
    total = counts.total()
    return math.fsum(-c * math.log2(c / total) for c in counts.values()) / num_bytes
