"""How large a filter is for what it must hold.

A filter's bits lie in pages of 4 KiB and all probes of a key go to one page (blocked Bloom filters, Putze et al. 2009).
Pages fill unevenly, so the filter is made large enough that the mean over all fillings has the rate that was asked for:
0.5 % more bits. Past its capacity a filter grows by a slice of twice the size and half the rate (scalable Bloom filters,
Almeida et al. 2007); the first slice may use 80 % of the rate and all later ones together the rest, so growing costs a
filter that never grows 1.5 % more bits.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

PAGE_BYTES = 4096
PAGE_BITS = 8 * PAGE_BYTES
FIRST_SHARE = 0.8  # of the rate, for the first slice
GROWTH = 2


@dataclass(frozen=True)
class Shape:
    """What two filters must have in common to be read or merged as one.

    `capacity` documents may be put in before the filter grows; `rate` is the share of new documents that all bands
    together may take for seen; `settings` names (a digest, at most 64 characters) what the keys were made with.
    """

    num_bands: int
    capacity: int
    rate: float
    settings: str = ""
    seed: int = 0

    @property
    def rate_per_band(self) -> float:
        """Each band's rate, such that all bands together have `rate`."""
        return -math.expm1(math.log1p(-self.rate) / self.num_bands)

    def slice_size(self, index: int) -> tuple[int, int, int]:
        """Capacity, pages a band and probes a key of slice `index`."""
        share = FIRST_SHARE if index == 0 else (1 - FIRST_SHARE) * 0.5**index
        capacity = max(1, self.capacity) * GROWTH**index
        return capacity, *pages_and_probes(capacity, self.rate_per_band * share)

    def theory_bytes(self) -> float:
        """Bytes of plain Bloom filters of this capacity and rate, as `-n ln p / ln(2)^2` bits has them."""
        return self.num_bands * self.capacity * -math.log(self.rate_per_band) / math.log(2) ** 2 / 8


@lru_cache(maxsize=256)
def pages_and_probes(capacity: int, rate: float) -> tuple[int, int]:
    """The fewest pages, and probes a key, that hold `capacity` keys at `rate`, given that pages fill unevenly."""
    num_probes = max(1, round(-math.log2(rate)))
    low = max(1, math.floor(capacity * -math.log(rate) / math.log(2) ** 2 / PAGE_BITS))
    high = low
    while expected_rate(capacity, high, num_probes) > rate:
        low, high = high, high + max(1, high // 8)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if expected_rate(capacity, middle, num_probes) <= rate else (middle + 1, high)
    return high, num_probes


def expected_rate(num_keys: int, num_pages: int, num_probes: int) -> float:
    """The mean, over a binomial number of keys in a page, of the chance that all probes of a new key hit set bits."""
    if num_pages == 1:
        return _page_rate(num_keys, num_probes)
    mean = num_keys / num_pages
    spread = 12 * math.sqrt(mean) + 12
    keys = range(max(0, int(mean - spread)), int(mean + spread))
    return math.fsum(math.exp(j * math.log(mean) - mean - math.lgamma(j + 1)) * _page_rate(j, num_probes) for j in keys)


def _page_rate(num_keys: int, num_probes: int) -> float:
    return float((1 - (1 - 1 / PAGE_BITS) ** (num_keys * num_probes)) ** num_probes)
