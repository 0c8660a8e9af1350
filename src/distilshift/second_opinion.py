"""A second opinion on a teacher's labels: what the words of all the other texts say.

A network's errors on a new domain are its own. A linear model of word pieces, taught the teacher's labels of the other
texts, errs elsewhere: it has never seen the source, and what a word means here it reads off hundreds of texts that hold
it. The mean of both is right more often than either. It is one round of co-training (Blum and Mitchell 1998), with the
network and the words as the two views; deviation: the views' predictions are averaged, where the paper adds the most
certain texts of either one to the training set of both.

A teacher that has adapted to the texts (`average_teachers`) speaks before the words do: it errs where the teacher as it
came does not, and on domains where it is worse the other two outvote it (benchmarks/LOG.md). Then class shares: where
the user or the parts of texts tell them, labels are moved to them (`target_prior`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfTransformer

from distilshift import progress
from distilshift.data.batch import TokenStore
from distilshift.data.corpus import Corpus
from distilshift.encoder import Classifier
from distilshift.losses.joint import align_shares
from distilshift.mapped import Arrays
from distilshift.metrics import Floats, softmax
from distilshift.near_copies import incidence, near_copies
from distilshift.run import RunDirectory
from distilshift.shards import Rows, token_store

# Pieces of a text that are read: all of them.
WHOLE = 2**30
# Texts that learn from one another: their kernel has so many rows and columns, and time and memory stay linear.
BLOCK_TEXTS = 2_000
# Fewer texts do not show what their words mean: with 300 the labels were worse for it (benchmarks/LOG.md).
MIN_TEXTS = 500
# Of the words' predictions with the teacher's: below, the words do not tell what the teacher sees in these texts. Of
# reviews it is 0.7 to 0.8, of shuffled labels 0.1 at the most.
MIN_CORRELATION = 0.3
# Pieces in a row that are one feature, at the most; and what is added to each text's likeness to itself, which is 1.
# Both chosen on the development pairs (benchmarks/LOG.md).
LONGEST_RUN = 3
RIDGE = 2.0
# More pieces than a vocabulary has: three of them, and which text of a pair they are of, fit in 64 bits.
PIECES = 2**20
# Logits of all texts that differ by so little, relative to the largest, differ by rounding.
SAME_OF_ALL = 1e-6
# Of moving class shares: each is a pass over the logits.
ALIGNING_ROUNDS = 300


@dataclass(frozen=True)
class SecondOpinion:
    """Labels that teacher and words agreed on.

    Attributes:
        whole: (texts, classes) float32 logits, on the scale of the teacher's.
        bias: (classes,) float32, what moved their class shares; a part of a text is to be moved as much.
        correlation: of the words' predictions with the teacher's, -1 to 1.
        weight: the words' share in the labels; 0 where they were not heard.
        distinct: number of different texts, as of `Corpus`.
    """

    whole: Rows
    bias: NDArray[np.float32]
    correlation: float
    weight: float
    distinct: int

    @property
    def remark(self) -> str:
        """Why words were not heard, as a sentence after another one; empty where they were."""
        if self.weight:
            return ""
        few = f"there are {self.distinct} different texts, and {MIN_TEXTS} would be needed"
        unlike = f"what they say follows the teacher too little (correlation {self.correlation:.2f})"
        return f" Words had no say: {few if self.distinct < MIN_TEXTS else unlike}."


def second_opinion(
    logits: Rows,
    texts: Corpus,
    classifier: Classifier,
    weight: float,
    shares: NDArray[np.float64] | None,
    temperature: float,
    seed: int,
    run: RunDirectory,
) -> SecondOpinion:
    """Ask the words, and move class shares; kept in the run.

    Args:
        logits: the teacher's, (texts, classes), of the whole texts.
        texts: these texts.
        classifier: whose tokenizer; its pieces are the words.
        weight: the words' share in the labels, 0 to 1.
        shares: (classes,), the class shares that labels shall have; None leaves those that they have.
        temperature: of the teacher, by which logits are calibrated before class shares are counted.
        seed: of the blocks.
        run: keeps the result.
    """
    with progress.stage("tokenising", len(texts)) as advance:
        words = token_store(replace(classifier, max_length=WHOLE), texts, len(texts), run, "words", advance)

    def compute() -> Arrays:
        with progress.stage("second opinion", len(texts)) as advance:
            own = _centred(logits[np.arange(len(logits))])
            said, correlation = _said(own, words, classifier.tokenizer.all_special_ids, seed, advance)
        heard = weight if texts.distinct >= MIN_TEXTS and correlation >= MIN_CORRELATION else 0.0
        mixed = (1 - heard) * own + heard * said
        # Averaging takes as much of an overconfident teacher's sureness as calibration would: benchmarks/LOG.md.
        scale = min(1.0, temperature) if heard else temperature
        bias = np.zeros(mixed.shape[1]) if shares is None else scale * bias_towards(mixed / scale, shares)
        facts = {"correlation": np.array([correlation]), "weight": np.array([heard])}
        return {"logits": (mixed + bias).astype(np.float32), "bias": bias.astype(np.float32)} | facts

    found = run.arrays("second-opinion", compute, lead_only=True)
    numbers = {name: float(found[name][0]) for name in ("correlation", "weight")}
    return SecondOpinion(Rows([found["logits"]]), np.array(found["bias"]), **numbers, distinct=texts.distinct)


def average_teachers(unadapted: Rows, adapted: Rows, weight: float) -> NDArray[np.float32]:
    """Mean of the centred logits of two teachers, (texts, classes); the adapted one's spread is made the other's.

    Information maximization makes a teacher far surer than it was; unscaled, it would be the only one to be heard.
    An adapted teacher that says the same of all texts says nothing, and is not heard.

    Args:
        unadapted: (texts, classes) logits of the teacher as it came.
        adapted: (texts, classes) logits of the adapted teacher for the same texts.
        weight: the adapted teacher's share, 0 to 1.
    """
    own, other = (_centred(each[np.arange(len(each))]) for each in (unadapted, adapted))
    spreads = [float((each - each.mean(axis=0)).std()) for each in (own, other)]
    if spreads[1] <= SAME_OF_ALL * float(np.abs(other).max()):
        return own.astype(np.float32)
    return ((1 - weight) * own + weight * spreads[0] / spreads[1] * other).astype(np.float32)


def _centred(logits: Floats) -> NDArray[np.float64]:
    values = logits.astype(np.float64)
    return values - values.mean(axis=1, keepdims=True)


def _said(
    own: NDArray[np.float64], words: TokenStore, special: Sequence[int], seed: int, advance: progress.Advance
) -> tuple[NDArray[np.float64], float]:
    """What the words say, as logits with the mean and the spread of the teacher's, and how well they follow it."""
    targets = softmax(own)
    targets -= targets.mean(axis=0)
    said = np.zeros_like(own)
    for block in _blocks(len(own), seed):
        texts = [features(*words.row(index), special) for index in block]
        said[block] = leave_copies_out(similarities(texts), targets[block], RIDGE, near_copies(texts))
        advance(len(block))
    spread = own - own.mean(axis=0)
    scale = spread.std() / max(float(said.std()), 1e-12)
    return own.mean(axis=0) + scale * said, _correlation(said, targets)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / norm if norm > 0 else 0.0


def _blocks(size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """All texts in random blocks of like size, `BLOCK_TEXTS` at the most; the indices of each in order."""
    order = np.random.default_rng(seed).permutation(size)
    for block in np.array_split(order, max(1, -(-size // BLOCK_TEXTS))):
        yield np.sort(block)


def features(ids: NDArray[np.int32], type_ids: NDArray[np.uint8], special: Sequence[int]) -> NDArray[np.int64]:
    """A text's pieces and runs of them, up to three, each once, as numbers; a pair's second text has others.

    Args:
        ids: (tokens,).
        type_ids: (tokens,); 1 marks the second text.
        special: ids that are no words.
    """
    kept = ~np.isin(ids, special)
    return np.unique(np.concatenate([2 * _runs(ids[kept & (type_ids == part)]) + part for part in (0, 1)]))


def _runs(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """A number for each piece and each run: its pieces are the digits, of which 0 is none."""
    pieces = ids.astype(np.int64) % (PIECES - 1) + 1
    found, run = [pieces], pieces
    for length in range(1, LONGEST_RUN):
        run = run[:-1] * PIECES + pieces[length:]
        found.append(run)
    return np.concatenate(found)


def similarities(texts: Iterable[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Cosines of texts by their features, (texts, texts), by TF-IDF.

    How often a feature occurs in a text does not count (benchmarks/LOG.md); what occurs in one text only is left out.
    Features are numbers and no strings, since long documents have millions of them.
    """
    found = incidence(list(texts))
    rows = TfidfTransformer().fit_transform(found) if found.shape[1] else found
    return np.asarray((rows @ rows.T).todense(), np.float64)


def leave_copies_out(
    kernel: NDArray[np.float64], targets: NDArray[np.float64], ridge: float, copies: Mapping[int, NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Predict each text by kernel ridge regression on all texts but itself and its copies, (texts, classes).

    t_i - [G_SS^-1 (G t)_S]_i with G = (K + ridge I)^-1 and S = {i and its copies}: exact, without fitting one model per
    text. For S = {i} it is t_i - [G t]_i / G_ii. Source: Allen 1974 (PRESS); Rasmussen and Williams 2006, eq. 5.12.

    Args:
        kernel: K, (texts, texts).
        targets: t, (texts, classes), with mean 0 per class.
        ridge: above 0.
        copies: S, ascending indices, for each i that has copies.
    """
    inverse = np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
    weighted = inverse @ targets
    residuals = weighted / np.diag(inverse)[:, None]
    together: dict[bytes, list[int]] = {}
    for index, members in copies.items():  # identical texts have the same copies, and need one solution
        together.setdefault(members.tobytes(), []).append(index)
    for indices in together.values():
        members = copies[indices[0]]
        solved = np.linalg.solve(inverse[np.ix_(members, members)], weighted[members])
        residuals[indices] = solved[np.searchsorted(members, indices)]
    return targets - residuals


def bias_towards(logits: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to add to the logits of all texts so that their mean prediction is these class shares.

    Args:
        logits: (texts, classes), finite.
        shares: (classes,), above 0, summing to 1.

    Returns:
        (classes,) with mean 0.
    """
    if np.allclose(shares, softmax(logits).mean(axis=0), rtol=0, atol=1e-9):
        return np.zeros_like(shares)
    given = torch.from_numpy(logits).log_softmax(dim=1)
    moved = align_shares(given, torch.from_numpy(shares), ALIGNING_ROUNDS)[0] - given[0]
    return (moved - moved.mean()).numpy()
