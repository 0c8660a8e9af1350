"""What is known of the target texts, beside the predictions for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Facts about the target texts.

    Attributes:
        distinct: number of different texts; None if unknown.
        label_names: the classes, to name them in reasons.
        unknown_share: share of the word pieces that are unknown to the teacher's tokenizer, 0 to 1.
        unknown_kinds: kinds of characters in these, the most common first.
    """

    distinct: int | None = None
    label_names: Sequence[str] = ()
    unknown_share: float = 0.0
    unknown_kinds: Sequence[str] = ()

    def name(self, index: int) -> str:
        """Return the name of a class, for messages."""
        return repr(self.label_names[index]) if self.label_names else f"class {index}"


NOTHING_KNOWN = Target()
