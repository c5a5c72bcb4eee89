"""How many samples of a batch each source gives, and how many it has given before: from the batch's number alone.

Weights are integers of sum 2^40. Batch m lays its B samples on a line and the sources' shares, B w_k long, end to end
over them, shifted by u_m, so that source k gives floor(end_k + u_m) - floor(end_(k-1) + u_m) of them (systematic sampling,
Madow 1949): B w_k rounded down or up, in every batch. u_m is m with its 40 bits in reverse (van der Corput 1935), which
visits all shifts so evenly that the samples given in the first M batches stay within 2 (log2(M) / 3 + 1) of M B w_k (Bejian
and Faure 1977; seen: under 5), and whose visits below a bound are counted in closed form, a term a bit of M. All arithmetic
is exact, on integers of 64 bits.

What it gives up: the least possible drift over many batches, under 1, needs the history of the run (Tijdeman 1980).
"""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

BITS = 40
ONE = 1 << BITS  # the whole, as weights count
MAX_BATCH = 1 << 22  # samples of a batch: ends, in units of 2^-40, stay below 2^62
SWAPS = ((1, 0x5555555555), (2, 0x3333333333), (4, 0x0F0F0F0F0F))  # neighbours in a byte


class Apportionment:
    """Sources' samples in batches of `batch_sequences`, by integer weights `parts` (K) whose sum is 2^40.

    All arguments are arrays of one length N, taken element by element; batches count from 0.
    """

    def __init__(self, parts: Indices, batch_sequences: int) -> None:
        assert parts.sum() == ONE, f"weights sum to {parts.sum()} of {ONE}"
        assert 1 <= batch_sequences <= MAX_BATCH, f"{batch_sequences} samples a batch"
        self.num_sources, self.batch_sequences = len(parts), batch_sequences
        self.ends = np.concatenate([[0], np.cumsum(parts)]) * batch_sequences

    def counts(self, batch: int) -> Indices:
        """Samples that each source (K) gives to a batch."""
        return np.diff(self.ends + reverse(np.array([batch])) >> BITS)

    def given(self, batches: Indices, sources: Indices) -> Indices:
        """Samples that `sources[i]` has given before batch `batches[i]`."""
        both = self.ends[np.stack([sources + 1, sources])]
        above = batches - num_below(batches, ONE - both % ONE)  # shifts that carry the end over one sample more
        last, first = (both >> BITS) * batches + above
        before: Indices = last - first
        return before

    def source(self, batches: Indices, slots: Indices) -> Indices:
        """Which source gives the sample at a slot (0 to B - 1) of a batch; a source's slots are neighbours."""
        sources: Indices = self.ends[1:].searchsorted(((slots + 1) << BITS) - reverse(batches))
        return sources

    def first_slot(self, batches: Indices, sources: Indices) -> Indices:
        """The first slot of a source in a batch in which it has any."""
        return self.ends[sources] + reverse(batches) >> BITS

    def batch(self, sources: Indices, turns: Indices, num_batches: int) -> Indices:
        """The batch, of the first `num_batches`, to which a source gives its sample number `turns[i]`, by bisection."""
        low, high = np.zeros_like(turns), np.full_like(turns, num_batches)
        while (low < high).any():
            middle = low + high >> 1
            passed = self.given(middle + 1, sources) > turns
            low, high = np.where(passed, low, middle + 1), np.where(passed, middle, high)
        return low


def reverse(numbers: Indices) -> Indices:
    """The lowest 40 bits of each number in reverse order."""
    for shift, mask in SWAPS:
        numbers = (numbers >> shift & mask) | (numbers & mask) << shift
    found = np.zeros_like(numbers)
    for byte in range(0, BITS, 8):
        found |= (numbers >> byte & 0xFF) << BITS - 8 - byte
    return found


def num_below(counts: Indices, bounds: Indices) -> Indices:
    """Of the first `counts[i]` numbers 0, 1, 2, ..., those whose reverse is below `bounds[i]` (0 to 2^40).

    The numbers below a count are one block of 2^b for each bit b of it, and a block's reverses are evenly spaced.
    """
    found = np.zeros(np.broadcast_shapes(counts.shape, bounds.shape), np.int64)
    reversed_counts = reverse(counts)
    for bit in range(int(counts.max(initial=0)).bit_length()):
        spacing = BITS - bit
        lowest = reversed_counts & (1 << spacing - 1) - 1
        found += (counts >> bit & 1) * (bounds + (1 << spacing) - 1 - lowest >> spacing)
    return found
