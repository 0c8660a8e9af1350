"""Windows of a long text, so that a model of limited length can read all of it.

Windows are runs of the tokenizer's own ids, so they are exact in every language and for any tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# A cut moves to the start of a word if one is within this share of the room.
SLACK = 1 / 8


def windows_of(
    sides: Sequence[list[int]], word_starts: Sequence[int], room: int, most: int, from_end: bool = False
) -> Iterator[list[list[int]]]:
    """Yield the token ids of each window, of one text or of a pair.

    Of a pair, the longer text is cut; the shorter one is repeated in each window. If the shorter one takes more than
    half of the room, the rest of it is not read. With one window this is the tokenizers' own rule, `longest_first`.

    Args:
        sides: token ids of the text, or of both texts, without special tokens.
        word_starts: by token id, 1 if the piece begins a word; see `starting_words`.
        room: tokens that a window holds, without special tokens.
        most: maximum number of windows; what does not fit into them is not read.
        from_end: read the end of a text rather than its beginning where it is too long for all windows, as a model
            does whose tokenizer truncates on the left.
    """
    sizes = [len(side) for side in sides]
    cut = max(range(len(sides)), key=lambda index: (sizes[index], index))
    kept = [_part(side, room // 2, from_end) for side in sides]
    if sum(sizes) <= room:
        yield list(sides)
        return
    left = room - sum(len(side) for index, side in enumerate(kept) if index != cut)
    long = _part(sides[cut], most * left, from_end)
    for run in cuts(len(long), left, most, lambda place: bool(word_starts[long[place]])):
        yield [long[run] if index == cut else side for index, side in enumerate(kept)]


def _part(side: list[int], size: int, from_end: bool) -> list[int]:
    return side[max(0, len(side) - size) :] if from_end else side[:size]


def cuts(size: int, room: int, most: int, starts_word: Callable[[int], bool]) -> list[slice]:
    """Cut a text of `size` tokens into as few runs as fit, of similar sizes.

    Each run begins at a word if one begins close by. A text of more than `most` full runs is read up to there.

    Args:
        size: tokens of the text.
        room: maximum number of tokens of a run.
        most: maximum number of runs.
        starts_word: whether the token at this position begins a word.
    """
    count = max(1, min(most, -(-size // room)))
    slack, start, runs = int(room * SLACK), 0, []
    for left in range(count - 1, 0, -1):
        even = start + min(room, -(-(size - start) // (left + 1)))
        # The runs that are left must hold the rest, unless the text is too long for that anyway.
        first = max(even - slack, size - left * room if size <= most * room else 0)
        last = min(even + slack, start + room)
        near = (place for step in range(slack + 1) for place in (even - step, even + step))
        end = next((place for place in near if first <= place <= last and starts_word(place)), even)
        runs.append(slice(start, end))
        start = end
    return [*runs, slice(start, min(size, start + room))]


def starting_words(vocabulary: Mapping[str, int]) -> bytes:
    """Return, by token id, 1 if the piece begins a word and 0 if it continues one.

    The vocabulary shows it: WordPiece marks pieces that continue a word, SentencePiece and byte-level BPE mark those
    that begin one, and its own mark is much more frequent than the others. Without marks, every piece is a word.

    Args:
        vocabulary: ids by piece.
    """
    continues = {piece for piece in vocabulary if len(piece) > 2 and piece.startswith("##")}
    begins = max(({piece for piece in vocabulary if piece.startswith(mark)} for mark in ("▁", "Ġ")), key=len)
    found = bytearray(1 + max(vocabulary.values(), default=0))
    for piece, number in vocabulary.items():
        found[number] = piece in begins if len(begins) > len(continues) else piece not in continues
    return bytes(found)


def mean_over_windows(windows: NDArray[np.floating], counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the mean of each text's windows, (texts, classes).

    Args:
        windows: (windows, classes) probabilities, in the order of the texts.
        counts: (texts,) windows of each text, 1 or more.
    """
    sums = np.add.reduceat(np.asarray(windows, np.float64), np.cumsum(counts) - counts)
    return np.asarray(sums / counts[:, None], np.float64)
