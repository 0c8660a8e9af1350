"""What `adapt` decides without labels: the class shares to expect, and whether the adapted teacher is used.

Decisions are noted in the run, so that a continued run decides the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distilshift.bundle import Statistics
from distilshift.files import write_json
from distilshift.gate import MIN_DISTINCT, GateDecision, decide, decide_labels
from distilshift.metrics import softmax
from distilshift.part_shares import part_share
from distilshift.run import RunDirectory
from distilshift.shards import Rows
from distilshift.target_facts import NOTHING_KNOWN, Target
from distilshift.target_prior import TargetPrior, labels_prior, with_parts
from distilshift.views import Reading

# Texts that decisions are made on: a share of them is known to a point, and memory does not grow with the corpus.
JUDGED_TEXTS = 10_000
# Fewer texts that have parts tell nothing of class shares.
MIN_TEXTS = 50

Outcome = Literal["accepted", "refused"]


@dataclass(frozen=True)
class Verdict:
    """What became of feedback.

    Attributes:
        outcome: "accepted" or "refused".
        reason: in a sentence.
        decision: the gate's; None where it was not asked.
    """

    outcome: Outcome
    reason: str
    decision: GateDecision | None = None


@dataclass(frozen=True)
class Judgement:
    """What became of the adaptation.

    Attributes:
        adaptation: "accepted", "refused", or "none" where the method is none.
        reason: in a sentence.
        prior: the class shares that adaptation expected; None without one.
        decision: the gate's; None where it was not asked.
        feedback: what became of the student's own labels; None where it had none.
    """

    adaptation: Literal["accepted", "refused", "none"]
    reason: str
    prior: TargetPrior | None = None
    decision: GateDecision | None = None
    feedback: Verdict | None = None

    def after(self, verdict: Verdict, method: str, prior: TargetPrior) -> Judgement:
        """With what became of a student that learnt from itself: by dine, which is the adaptation, or by feedback."""
        if method == "dine":
            return Judgement(verdict.outcome, verdict.reason, prior, verdict.decision)
        return replace(self, feedback=verdict, prior=self.prior or prior)

    def summary(self, label_names: list[str]) -> dict[str, Any]:
        """Plain values for the student's manifest."""
        shares = self.prior and dict(zip(label_names, self.prior.shares, strict=True))
        scores = self.decision and asdict(self.decision)
        return {
            "adaptation": self.adaptation,
            "adaptation_reason": self.reason,
            "target_prior": shares,
            "target_prior_reason": self.prior and self.prior.reason,
            "feedback": self.feedback and self.feedback.outcome,
            "feedback_reason": self.feedback and self.feedback.reason,
            "scores": scores and {key: scores[key] for key in ("agreement", "unadapted", "adapted")},
        }


NOT_ADAPTED = Judgement("none", "No adaptation was asked for: plain labels of the teacher as it came.")
TOO_FEW = f"Not adapted: fewer than {MIN_DISTINCT} different texts."


def given_target(judgement: Judgement, target: Target) -> Judgement:
    """A judgement without adaptation, with the reason that the target texts are too few where they are."""
    few = target.distinct is not None and target.distinct < MIN_DISTINCT
    return replace(judgement, reason=TOO_FEW) if few and judgement.adaptation == "none" else judgement


class Judge:
    """Knows what the unadapted teacher says, and compares."""

    def __init__(
        self,
        unadapted: Reading,
        statistics: Statistics | None,
        seed: int,
        run: RunDirectory,
        parts: Callable[[], NDArray[np.float32] | None] = lambda: None,
        given: TargetPrior | None = None,
        target: Target = NOTHING_KNOWN,
    ) -> None:
        """What decisions need.

        Args:
            unadapted: logits on the scale that was trained.
            statistics: the teacher's.
            seed: of the sample.
            run: keeps decisions.
            parts: gives the teacher's logits for parts of the texts as `read_parts` does, on that scale; asked where
                class shares are to be estimated.
            given: the class shares that the user gave.
            target: facts about the texts.
        """
        self._unadapted, self._statistics, self._run, self._parts = unadapted, statistics, run, parts
        self._given, self._target = given, target
        size = len(unadapted.beginnings)
        self._sample = np.random.default_rng(seed).permutation(size)[:JUDGED_TEXTS]

    @property
    def temperature(self) -> float:
        """What the teacher's logits are divided by to be calibrated."""
        return self._statistics.temperature if self._statistics else 1.0

    def _probabilities(self, logits: Rows | NDArray[np.float32]) -> NDArray[np.float64]:
        return softmax(logits[self._sample] / self.temperature)

    def prior(self) -> TargetPrior:
        """The class shares to expect: those given, else by the rules of `with_parts` and `labels_prior`."""

        def choose() -> TargetPrior:
            if self._given:
                return self._given
            own = self._probabilities(self._unadapted.whole)
            parts = self._parts()
            signals = np.empty((0, 0)) if parts is None else signals_of(parts, self.temperature)
            return with_parts(own, part_share(signals)) if len(signals) >= MIN_TEXTS else labels_prior(own)

        return TargetPrior.from_json(self._kept("target-prior", choose))

    def adaptation_prior(self) -> TargetPrior:
        """The class shares that a teacher's predictions keep while it adapts: those given, else of its labels.

        Not those by parts of texts: their error would be taken for evidence once more.
        """

        def choose() -> TargetPrior:
            return self._given or labels_prior(self._probabilities(self._unadapted.whole))

        return TargetPrior.from_json(self._kept("adaptation-prior", choose))

    def judge(self, adapted: Reading, prior: TargetPrior) -> Judgement:
        """Whether the adapted teacher is used, by what both say of whole texts."""

        def choose() -> GateDecision:
            readings = self._unadapted, adapted
            before, after = (self._probabilities(reading.whole) for reading in readings)
            first, second = (self._probabilities(reading.beginnings) for reading in readings)
            return decide(before, after, prior, self._statistics, (first, second), self._target)

        decision = GateDecision.from_json(self._kept("adapted-gate", choose))
        return Judgement(_outcome(decision), decision.reason, prior, decision)

    def known_shares(self, judgement: Judgement) -> NDArray[np.float64] | None:
        """The class shares of the target, (classes,), where they were given or estimated; None where nobody knows."""
        prior = judgement.prior or self._given
        return prior.array() if prior and prior.known else None

    def judge_opinion(self, revised: Rows, prior: TargetPrior) -> Judgement:
        """Whether labels of teacher and words together are used, (texts, classes) logits of whole texts."""

        def choose() -> GateDecision:
            before, after = self._probabilities(self._unadapted.whole), self._probabilities(revised)
            beginnings = self._probabilities(self._unadapted.beginnings)
            what, who = "The second opinion", "second opinion"
            return decide_labels(before, after, prior, self._statistics, what, who, beginnings, self._target)

        decision = GateDecision.from_json(self._kept("gate", choose))
        return Judgement(_outcome(decision), decision.reason, prior, decision)

    def judge_student(self, logits: Callable[[], NDArray[np.float32]], prior: TargetPrior, what: str) -> Verdict:
        """Whether a student that learnt from its own predictions is used.

        Args:
            logits: gives its logits for the texts' beginnings, (texts, classes), on the scale that was trained.
            prior: the class shares to expect.
            what: what it did with its predictions, for the reason.
        """

        def choose() -> GateDecision:
            before, after = self._probabilities(self._unadapted.beginnings), self._probabilities(logits())
            return decide_labels(before, after, prior, self._statistics, what, target=self._target)

        decision = GateDecision.from_json(self._kept("student-gate", choose))
        return Verdict(_outcome(decision), decision.reason, decision)

    def _kept(self, name: str, choose: Callable[[], TargetPrior | GateDecision]) -> dict[str, Any]:
        if name not in self._run:
            values = asdict(choose())
            self._run.save(name, lambda path: write_json(path, values), **values)
        return self._run.facts(name)


def signals_of(parts: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """What `part_share` takes, of logits as `read_parts` gives them; texts that were not read are left out."""
    read = parts[np.isfinite(parts).all(axis=(1, 2))]
    return np.diff(softmax(read / temperature))[:, :, 0]


def _outcome(decision: GateDecision) -> Outcome:
    return "accepted" if decision.chosen == "adapted" else "refused"
