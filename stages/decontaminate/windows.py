"""Where in a document an item may be: the stretch of words that has most of the item's trigrams, if it has enough.

One pass over the words finds the trigrams that any item has (few: most words cost one look at a bit), a second over
these, item by item, the window of `REACH` times the item's length with the most distinct ones.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.compiled import compiled
from stages.decontaminate.letters import Letters, letters
from stages.decontaminate.needles import FACTORS, SIZE, Index, lookup
from stages.decontaminate.words import Bytes, Hashes, Places, Words, read_words, room

REACH, SLACK = 1.5, 12  # a window's words: the item's, half as many more, and a few
RUN_WORDS = 12  # words in a row that two texts do not share by chance
MIN_SHARE = np.float32(0.10)  # of the weight of an item's trigrams: worth a closer look (10 windows a paper)


class Windows(NamedTuple):
    """W candidates: document (row of the batch), item, bytes of the text, share of the weight of the item's trigrams.

    `starts:ends` is what may hold the item, `firsts:lasts` reaches from its first to its last trigram that was found;
    `runs` counts the words of its longest run of trigrams without a gap.
    """

    documents: Places
    items: Places
    starts: Places
    ends: Places
    firsts: Places
    lasts: Places
    runs: Places
    shares: npt.NDArray[np.float32]


def windows(texts: pa.Array, found: Index) -> Windows:
    """The candidates in an Arrow array of texts, document by document, item by item."""
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    rows = _windows(raw, starts, letters(), found)
    places = rows[:, :7].astype(np.int32)
    shares = (rows[:, 7] / 1e6).astype(np.float32)
    return Windows(
        places[:, 0], places[:, 1], places[:, 2], places[:, 3], places[:, 4], places[:, 5], places[:, 6], shares
    )


@compiled
def _windows(data: Bytes, starts: npt.NDArray[np.int64], tables: Letters, found: Index) -> npt.NDArray[np.int64]:
    longest = 0
    for row in range(starts.size - 1):
        longest = max(longest, int(starts[row + 1] - starts[row]))
    text = room(longest)
    out, count = np.empty((64, 8), np.int64), 0
    for row in range(starts.size - 1):
        num_words = read_words(data, starts[row], starts[row + 1], tables, text)
        hits = _hits(text.hashes, num_words, found)
        first = 0
        while first < hits.shape[0]:
            last = first
            while last < hits.shape[0] and hits[last, 0] == hits[first, 0]:
                last += 1
            if count == out.shape[0]:
                out = np.concatenate((out, np.empty_like(out)))
            out[count, 0] = row
            count += _window(hits[first:last], text, num_words, found, out[count])
            first = last
    return out[:count]


@compiled
def _window(hits: npt.NDArray[np.int64], text: Words, num_words: int, found: Index, out: npt.NDArray[np.int64]) -> bool:
    """Write the best window of one item to `out`, but for its row; returns whether it is worth a closer look."""
    item = int(hits[0, 0])
    share, low, high = _best(hits, found)
    reach = int(found.lengths[item] * REACH) + SLACK
    begin, end = max(0, high + SIZE - reach), min(num_words, low + reach) - 1
    out[1], out[2], out[3] = item, text.starts[begin], text.ends[end]
    out[4], out[5] = text.starts[low], text.ends[high + SIZE - 1]
    out[6], out[7] = _longest_run(hits[:, 1], hits[:, 2], found.counts[item]), int(share * 1e6)
    return bool(share >= MIN_SHARE or out[6] >= RUN_WORDS)


@compiled
def _hits(hashes: Hashes, num_words: int, found: Index) -> npt.NDArray[np.int64]:
    """(item, place, number of the gram in the item, gram) of every gram that an item has, by item, then by place."""
    out, count = np.empty((256, 4), np.int64), 0
    for place in range(num_words - SIZE + 1):
        key = hashes[place] * FACTORS[0] + hashes[place + 1] * FACTORS[1] + hashes[place + 2] * FACTORS[2]
        gram = lookup(max(key, np.uint64(1)), found)
        if gram < 0:
            continue
        for posting in range(found.at[gram], found.at[gram + 1]):
            if count == out.shape[0]:
                out = np.concatenate((out, np.empty_like(out)))
            out[count, 0], out[count, 1] = found.items[posting], place
            out[count, 2], out[count, 3] = found.slots[posting], gram
            count += 1
    return out[np.argsort(out[:count, 0], kind="mergesort")]


@compiled
def _longest_run(places: npt.NDArray[np.int64], slots: npt.NDArray[np.int64], count: int) -> int:
    """The words of the longest run, each trigram counted once: a row of numbers in a table is one trigram over and over."""
    seen = np.full(count, -1, np.int64)  # the run in which a trigram was met last
    longest = distinct = run = 0
    for i in range(places.size):
        if i and places[i] - places[i - 1] > 1:
            run, distinct = i, 0
        distinct += seen[slots[i]] != run
        seen[slots[i]] = run
        longest = max(longest, distinct)
    return longest + SIZE - 1


@compiled
def _best(hits: npt.NDArray[np.int64], found: Index) -> tuple[float, int, int]:
    """The most weight of distinct grams in one window, as a share of the item's, and where its first and last gram stand."""
    item = hits[0, 0]
    reach = np.int64(found.lengths[item] * REACH) + SLACK
    seen = np.zeros(found.counts[item], np.int32)
    best = weight = 0.0
    low = high = int(hits[0, 1])
    first = 0
    for last in range(hits.shape[0]):
        seen[hits[last, 2]] += 1
        if seen[hits[last, 2]] == 1:
            weight += found.weights[hits[last, 3]]
        while hits[last, 1] - hits[first, 1] > reach - SIZE:
            seen[hits[first, 2]] -= 1
            if seen[hits[first, 2]] == 0:
                weight -= found.weights[hits[first, 3]]
            first += 1
        if weight > best + 1e-6:
            best, low, high = weight, int(hits[first, 1]), int(hits[last, 1])
    return best / max(found.totals[item], 1e-6), low, high
