"""The temperature that makes a classifier's probabilities mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distilshift.metrics import softmax


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature in [0.05, 20] under which the labels are likeliest. Source: Guo et al. 2017, section 4.2.

    Deviation: each label counts as (n + 1) / (n + classes) certain, as Platt (1999) does, since a few texts that
    are all labelled right would otherwise call for unbounded confidence.
    """
    from scipy.optimize import minimize_scalar

    texts, classes = logits.shape
    targets = np.full((texts, classes), 1.0 / (texts + classes))
    targets[np.arange(texts), labels] = (texts + 1.0) / (texts + classes)

    def cost(log_temperature: float) -> float:
        return float(-(targets * np.log(softmax(logits / np.exp(log_temperature)) + 1e-300)).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))
