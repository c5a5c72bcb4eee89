"""`numpy.random.RandomState.shuffle`, byte for byte, several times faster on arrays that do not fit the caches.

The generator is MT19937 (Matsumoto and Nishimura 1998), the shuffle Fisher and Yates' from the last item down, each
partner drawn by masking a word and rejecting it if it is too large: numpy's frozen legacy algorithm, on which Megatron's
indices rest. numpy draws and swaps in turn, so that each swap waits for memory; here a block of partners is drawn first,
and the processor has many swaps in flight. Arrays of 2^32 items or more, which take two words a draw, and very short
ones are left to numpy.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stages.compiled import compiled

NUM_WORDS, MIDDLE = 624, 397
FEWEST_ITEMS = 8192  # for fewer, to take over the state and give it back costs more than it saves
UPPER, LOWER, TWIST = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x9908B0DF)

Array = npt.NDArray[Any]


def shuffle(random: np.random.RandomState, items: Array) -> None:
    """Do `random.shuffle(items)` for one axis, and leave `random` where that would leave it."""
    if not FEWEST_ITEMS <= len(items) < 1 << 32:
        random.shuffle(items)
        return
    state: dict[str, Any] = random.get_state(legacy=False)
    key = state["state"]["key"].astype(np.uint32)
    state["state"] = {"key": key, "pos": _shuffle(key, state["state"]["pos"], items)}
    random.set_state(state)


@compiled
def _shuffle(key: Array, position: int, items: Array) -> int:
    words, partners = np.empty(NUM_WORDS, np.uint32), np.empty(NUM_WORDS, np.int64)
    _temper(key, words)
    last = len(items) - 1
    while last > 0:
        if position == NUM_WORDS:
            _advance(key)
            _temper(key, words)
            position = 0
        count, position = _draw(words, position, last, partners)
        for index in range(count):
            partner = partners[index]
            items[last - index], items[partner] = items[partner], items[last - index]
        last -= count
    return position


@compiled
def _draw(words: Array, position: int, last: int, partners: Array) -> tuple[int, int]:
    """Partners for `last`, `last - 1`, ... from these words: how many, and where the words stand then."""
    count, mask = 0, 1
    while mask <= last:
        mask *= 2
    mask -= 1
    while position < NUM_WORDS and last > 0:
        lowest = mask >> 1  # from here down the mask has a bit less
        while position < NUM_WORDS and last > lowest:
            partner = np.int64(words[position]) & mask
            position += 1
            partners[count] = partner  # overwritten by the next if it is rejected
            accepted = int(partner <= last)
            count += accepted
            last -= accepted
        mask = lowest if last <= lowest else mask
    return count, position


@compiled
def _advance(key: Array) -> None:
    """Replace the state by the next one."""
    for n in range(NUM_WORDS - MIDDLE):
        key[n] = key[n + MIDDLE] ^ _twist(key[n], key[n + 1])
    for n in range(NUM_WORDS - MIDDLE, NUM_WORDS - 1):
        key[n] = key[n + MIDDLE - NUM_WORDS] ^ _twist(key[n], key[n + 1])
    key[NUM_WORDS - 1] = key[MIDDLE - 1] ^ _twist(key[NUM_WORDS - 1], key[0])


@compiled
def _twist(high: np.uint32, low: np.uint32) -> np.uint32:
    mixed = (high & UPPER) | (low & LOWER)
    return (mixed >> np.uint32(1)) ^ (TWIST if mixed & np.uint32(1) else np.uint32(0))


@compiled
def _temper(key: Array, words: Array) -> None:
    for n in range(NUM_WORDS):
        word = key[n]
        word ^= word >> np.uint32(11)
        word ^= (word << np.uint32(7)) & np.uint32(0x9D2C5680)
        word ^= (word << np.uint32(15)) & np.uint32(0xEFC60000)
        words[n] = word ^ (word >> np.uint32(18))
