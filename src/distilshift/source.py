"""`teach`: labelled source texts to a teacher bundle; `import_checkpoint`: a ready classifier to one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distilshift.bundle import Manifest, Statistics, new_bundle, read_manifest
from distilshift.calibration import source_statistics
from distilshift.card import teacher_card
from distilshift.config import ImportConfig, TeachConfig, overlaid
from distilshift.data.batch import TokenStore
from distilshift.data.check import telling_of_pairs
from distilshift.data.labelled import read_any_labelled
from distilshift.data.read import label_mapping, read_labelled, require_classes
from distilshift.data.split import stratified_split
from distilshift.encoder import Classifier, load_classifier, scale_logits
from distilshift.errors import DataError, ModelError
from distilshift.files import require_apart, require_free
from distilshift.inference import cpu_threads, forward_all
from distilshift.loop import Objective, finished, loop_config, train_once
from distilshift.parallel import Batch, crew_of
from distilshift.precision import make_accelerator
from distilshift.run import RunDirectory, open_run
from distilshift.stage import fingerprint_examples, identity, placed, require_room, run_path, seeded, versions
from distilshift.types import Example, TeachResult
from distilshift.vocabulary import used_rows_only


class SupervisedObjective(Objective):
    """Cross-entropy with label smoothing; keeps the weights of the epoch that validates best.

    Source of label smoothing for a teacher that will be adapted: Liang et al. 2020, section 3.1.
    """

    def __init__(
        self,
        classifier: Classifier,
        training: TokenStore,
        labels: NDArray[np.int64],
        validate: Any,
        smoothing: float,
        device: torch.device,
    ) -> None:
        self._classifier, self._store, self._labels = classifier, training, torch.from_numpy(labels)
        self._validate, self._smoothing, self._device = validate, smoothing, device
        self._best_score = torch.tensor(-torch.inf, dtype=torch.float64)
        self._best: dict[str, Tensor] = {}

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        return self._store.lengths

    def loss(self, model: Any, batch: Batch) -> Tensor:
        logits = model(**self._classifier.inputs(self._store, batch.indices, self._device)).logits
        labels = self._labels[batch.indices].to(self._device)
        errors = F.cross_entropy(logits.float(), labels, label_smoothing=self._smoothing, reduction="none")
        return batch.mean(errors)

    def after_epoch(self, epoch: int) -> None:
        score = torch.tensor(self._validate(), dtype=torch.float64)
        if score > self._best_score:
            self._best_score = score
            self._best = {k: v.detach().clone() for k, v in self._classifier.model.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        return {"score": self._best_score} | {f"best.{key}": value for key, value in self._best.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._best_score = state.pop("score")
        self._best = {key.removeprefix("best."): value for key, value in state.items()}

    def restore_best(self) -> None:
        """Give the model the weights of its best epoch."""
        self._classifier.model.load_state_dict(self._best)


def teach(
    data: Any,
    output: str | Path,
    config: TeachConfig | None = None,
    *,
    overwrite: bool = False,
    fresh: bool = False,
    **options: Any,
) -> TeachResult:
    """Fine-tune an encoder on labelled texts and write a teacher bundle that holds none of them.

    The epoch and the temperature are chosen on source validation texts.

    Args:
        data: CSV, TSV, JSONL or Parquet file (.gz too) with a text and a label column; a table with them (pandas,
            polars, `datasets`, a dict of columns); `(texts, labels)`; or labelled examples.
        output: the bundle's folder; unfinished work lives in `<output>.run`.
        config: the options; the defaults where None.
        overwrite: replace a bundle that is there.
        fresh: discard an unfinished run instead of continuing it.
        options: single fields of TeachConfig.

    Raises:
        DistilshiftError: an input, an option or the output is unusable; nothing is written then.
    """
    start = time.perf_counter()
    settings = overlaid(TeachConfig, config, options)
    folder = Path(output)
    require_room(folder, overwrite)
    require_apart(folder, settings.base_model)
    training, validation = _examples(data, settings)
    settings = telling_of_pairs(settings, training[0])
    names = sorted({str(item.label) for item in training})
    key = identity("teach", settings, texts=fingerprint_examples([*training, *validation]))
    accelerator = make_accelerator(settings)
    with cpu_threads(settings.threads), open_run(run_path(folder), key, fresh, crew_of(accelerator)) as run:
        if not placed(folder, overwrite, run, finished("teach")):
            _teach(folder, names, training, validation, settings, accelerator, run, overwrite)
    statistics = read_manifest(folder, "teacher").statistics
    assert statistics  # a taught teacher has them
    seconds = time.perf_counter() - start
    return TeachResult(folder, statistics.validation_accuracy, statistics.temperature, seconds)


def _teach(
    folder: Path,
    names: list[str],
    training: list[Example],
    validation: list[Example],
    config: TeachConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    overwrite: bool,
) -> None:
    """Train, calibrate, and write the bundle."""
    with seeded(config.seed):
        classifier = load_classifier(config.base_model, config.max_length, names)
    logits = _fit(classifier, training, validation, config, accelerator, run)
    statistics = _calibrate(classifier, logits, training, validation, config.seed)
    if run.crew.leads:
        _write(folder, classifier, _manifest(classifier, config, statistics), overwrite)


def _examples(data: Any, config: TeachConfig) -> tuple[list[Example], list[Example]]:
    """Training and validation examples."""
    name, examples = read_any_labelled(data, config)
    config = telling_of_pairs(config, examples[0])
    require_classes(examples, name)
    if config.validation is None:
        return stratified_split(examples, config.validation_fraction, config.seed)
    held_out = read_labelled(config.validation, config).examples
    unknown = {item.label for item in held_out} - {item.label for item in examples}
    if unknown:
        raise DataError(
            f"{config.validation} has labels that {name} lacks",
            got=", ".join(sorted(map(str, unknown))),
            fix="use the same label names in both files",
        )
    return examples, list(held_out)


def _label_ids(classifier: Classifier, examples: Sequence[Example]) -> NDArray[np.int64]:
    order = {name: index for index, name in enumerate(classifier.label_names)}
    return np.array([order[str(item.label)] for item in examples], dtype=np.int64)


def _fit(
    classifier: Classifier,
    training: Sequence[Example],
    validation: Sequence[Example],
    config: TeachConfig,
    accelerator: Accelerator,
    run: RunDirectory,
) -> NDArray[np.float32]:
    """Train; returns the validation logits of the chosen weights."""
    labels, accelerate = _label_ids(classifier, validation), (accelerator.device, accelerator.autocast)
    stores = [classifier.tokenise(training), classifier.tokenise(validation)]
    classifier.model.to(accelerator.device)
    with used_rows_only(classifier.model, stores) as (texts, held_out):

        def validation_logits() -> NDArray[np.float32]:
            return forward_all(classifier, held_out, *accelerate, crew=run.crew)["logits"]

        def score() -> float:
            return float(np.mean(validation_logits().argmax(axis=1) == labels))

        objective = SupervisedObjective(
            classifier, texts, _label_ids(classifier, training), score, config.label_smoothing, accelerator.device
        )
        loop = loop_config("teach", config, config.epochs, config.batch_size, config.learning_rate)
        train_once(classifier.model, objective, loop, accelerator, run, objective.restore_best)
        return validation_logits()


def _calibrate(
    classifier: Classifier,
    logits: NDArray[np.float32],
    training: Sequence[Example],
    validation: Sequence[Example],
    seed: int,
) -> Statistics:
    """Aggregate what may travel, and fold the temperature into the model."""
    shares = np.bincount(_label_ids(classifier, training), minlength=len(classifier.label_names)) / len(training)
    statistics = source_statistics(logits, _label_ids(classifier, validation), shares, seed)
    scale_logits(classifier.model, 1.0 / statistics.temperature)
    return statistics


def _manifest(classifier: Classifier, config: TeachConfig, statistics: Statistics) -> Manifest:
    return Manifest(
        kind="teacher",
        label_names=classifier.label_names,
        base_model=Path(config.base_model).name,
        max_length=classifier.max_length,
        seed=config.seed,
        config=config.portable(),
        versions=versions(),
        statistics=statistics,
    )


def import_checkpoint(
    checkpoint: str, output: str | Path, config: ImportConfig | None = None, *, overwrite: bool = False, **options: Any
) -> Path:
    """Turn a fine-tuned Hugging Face classifier into a teacher bundle, without data.

    Its statistics are marked absent: there is no text to count.

    Args:
        checkpoint: folder or hub id.
        output: the bundle's folder.
        config: the options; the defaults where None.
        overwrite: replace a bundle that is there.
        options: single fields of ImportConfig.

    Raises:
        ModelError: it is not a single-label classifier of the BERT family.
    """
    settings, folder = overlaid(ImportConfig, config, options), Path(output)
    require_free(folder, overwrite)
    require_apart(folder, checkpoint)
    classifier = load_classifier(checkpoint, settings.max_length)
    if settings.label_names:
        _rename_labels(classifier, settings.label_names)
    _require_names(checkpoint, classifier.label_names)
    manifest = Manifest(
        kind="teacher",
        label_names=classifier.label_names,
        base_model=Path(checkpoint).name,
        max_length=classifier.max_length,
        config=settings.portable(),
        versions=versions(),
    )
    _write(folder, classifier, manifest, overwrite)
    return folder


def _write(folder: Path, classifier: Classifier, manifest: Manifest, overwrite: bool) -> None:
    with new_bundle(folder, manifest, overwrite) as new:
        classifier.save(new)
        (new / "README.md").write_text(teacher_card(manifest), encoding="utf-8")


def _require_names(checkpoint: str, names: Sequence[Any]) -> None:
    if len(set(names)) == len(names) and all(isinstance(name, str) and name.strip() for name in names):
        return
    example = ",".join(f"{index}=name{index}" for index in range(min(len(names), 3)))
    raise ModelError(
        f"{checkpoint!r} does not name its classes",
        expected="a name for each, no two alike",
        got=", ".join(repr(name) for name in names[:8]),
        fix=f"pass --label-names {example}{',...' if len(names) > 3 else ''}",
    )


def _rename_labels(classifier: Classifier, names: str) -> None:
    mapping = label_mapping(names)
    numbers = [str(index) for index in range(len(classifier.label_names))]
    if set(mapping) != set(numbers):
        raise DataError(
            "--label-names does not fit the checkpoint",
            expected=f"a name for each of {', '.join(numbers)}",
            got=names,
            fix="name every class once, as 0=negative,1=positive",
        )
    renamed = {int(number): name for number, name in mapping.items()}
    classifier.model.config.id2label = renamed
    classifier.model.config.label2id = {name: index for index, name in renamed.items()}
