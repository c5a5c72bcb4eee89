"""The sketch by its definition, with Python's integers: slow, and written apart from the compiled passes."""

MASK = 2**64 - 1
GOLDEN, FACTOR = 0x9E3779B97F4A7C15, 0xD1342543DE82EF95


def mix(x: int) -> int:
    """SplitMix64's finish (Steele et al. 2014, figure 16)."""
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def word_hash(word: str) -> int:
    """Hash a word by its characters."""
    value = GOLDEN
    for char in word:
        value = ((value ^ ord(char)) * FACTOR) & MASK
    return mix(value)


def ngrams(words: list[str], size: int) -> list[int]:
    """Hash each run of `size` words; fewer words are one shorter run."""
    hashes = [word_hash(w) for w in words]
    size = min(size, len(words))
    runs = [hashes[i : i + size] for i in range(len(words) - size + 1)] if words else []
    return [mix(sum(h * pow(FACTOR, size - 1 - place, 2**64) for place, h in enumerate(run)) & MASK) for run in runs]


def minimum(values: set[int], place: int, places: int, seed: int) -> int:
    """The smallest hash of the first round in which one of `values` falls into `place`."""
    start = mix((seed + GOLDEN) & MASK)
    for round_ in range(places):
        hashes = [mix((v + start + round_ * GOLDEN) & MASK) for v in values]
        if here := [h for h in hashes if (h >> 32) * places >> 32 == place]:
            return min(here)
    return min(mix((v + start + (places + place) * GOLDEN) & MASK) for v in values)


def band_keys(values: set[int], num_bands: int, rows_per_band: int, seed: int) -> list[int]:
    """Chain each band's minima into a key."""
    places = num_bands * rows_per_band
    minima = [minimum(values, place, places, seed) for place in range(places)]
    keys = []
    for band in range(num_bands):
        key = GOLDEN
        for value in minima[band * rows_per_band : (band + 1) * rows_per_band]:
            key = mix(key ^ value)
        keys.append(key)
    return keys
