"""The scale of a student's logits, fitted without labels, so that its confidence is the accuracy to be expected.

The labels that a student learns are not calibrated, whatever the teacher was: means of windows and of two opinions are
less sure than they are right, and adaptation makes a teacher surer than it is right. So first the labels are given the
temperature at which their mean confidence is the accuracy that is estimated for the teacher. Then the student is given
the temperature under which it predicts these labels best on texts that it was not trained on, where there are some.
"""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from distilshift.bundle import Statistics
from distilshift.config import AdaptConfig
from distilshift.data.batch import TokenStore
from distilshift.data.corpus import Corpus
from distilshift.data.windows import mean_over_windows
from distilshift.encoder import Classifier
from distilshift.estimates import confidence_estimate
from distilshift.inference import forward_all
from distilshift.metrics import Floats, softmax, temperature_of_confidence
from distilshift.run import RunDirectory
from distilshift.select import confidences
from distilshift.static_student import windows_read
from distilshift.views import LabelledView, Reading

# Texts that temperatures are fitted on: a mean confidence is known to a point then.
FITTED_TEXTS = 500
# A few hundred validation texts without an error do not make a teacher right always; logits without bound would follow.
MAX_ACCURACY = 0.99


def expected_accuracy(beginnings: Floats, statistics: Statistics | None) -> float:
    """The teacher's accuracy on the target by its difference of confidences, or its mean confidence without statistics.

    `MAX_ACCURACY` at the most.

    Args:
        beginnings: (texts, classes) logits of the unadapted teacher, as it was trained.
        statistics: of its bundle.
    """
    probabilities = softmax(beginnings / (statistics.temperature if statistics else 1.0))
    found = confidence_estimate(probabilities, statistics)
    return min(MAX_ACCURACY, found.accuracy if found else float(confidences(probabilities).mean()))


def soft_label_temperature(windows: Floats, counts: NDArray[np.integer], labels: Floats) -> float:
    """The temperature in [0.05, 20] under which the student predicts soft labels best, by their cross-entropy.

    Source: Guo et al. 2017, section 4.2; deviation: the labels are a teacher's probabilities, and a text's prediction
    is the mean over its windows.

    Args:
        windows: (windows, classes) logits of the student.
        counts: (texts,) windows of each text.
        labels: (texts, classes) probabilities.
    """
    from scipy.optimize import minimize_scalar

    def cost(log_temperature: float) -> float:
        predicted = mean_over_windows(softmax(windows / np.exp(log_temperature)), counts)
        return float(-(labels * np.log(predicted + 1e-300)).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def student_temperature(
    student: Classifier,
    whole: LabelledView,
    corpus: Corpus,
    unadapted: Reading,
    statistics: Statistics | None,
    held_out: NDArray[np.bool_],
    config: AdaptConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> float:
    """What to divide a trained student's logits by.

    Args:
        student: on the accelerator's device.
        whole: the whole texts with the labels that it learned.
        corpus: these texts.
        unadapted: what the teacher, as it came, says of them.
        statistics: the teacher's.
        held_out: mask of the texts that it was not trained on; where there are none, all others serve.
        config: the options.
        accelerator: where it runs.
        run: whose processes share the work.
    """
    order = np.random.default_rng(config.seed).permutation(len(corpus))
    everywhere = order[:FITTED_TEXTS]
    accuracy = expected_accuracy(unadapted.beginnings[everywhere], statistics)
    label_temperature = temperature_of_confidence(whole.targets(everywhere).numpy(), accuracy)
    rows = order[held_out[order]][:FITTED_TEXTS] if held_out.any() else everywhere
    read = student.windows(corpus.at(rows), windows_read(student.model, config.max_windows))
    store = TokenStore.from_rows(read.ids, read.type_ids, student.tokenizer.pad_token_id)
    logits = forward_all(student, store, accelerator.device, nullcontext, crew=run.crew)["logits"]
    labels = softmax(whole.targets(rows).numpy() / label_temperature)
    return soft_label_temperature(logits, np.array(read.counts), labels)
