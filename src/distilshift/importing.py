"""`import_checkpoint`: a fine-tuned classifier to a teacher bundle that reads texts as its own pipeline does."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilshift.bundle import Manifest, new_bundle
from distilshift.card import teacher_card
from distilshift.config import ImportConfig, overlaid
from distilshift.data.read import label_mapping
from distilshift.encoder import Classifier, load_classifier
from distilshift.encoder_checks import casing_remark
from distilshift.errors import DataError, ModelError
from distilshift.files import require_apart, require_free
from distilshift.stage import versions

log = logging.getLogger("distilshift")

# What transformers calls the classes of a model that was trained without names.
_UNNAMED = re.compile(r"LABEL_\d+")


def import_checkpoint(
    checkpoint: str, output: str | Path, config: ImportConfig | None = None, *, overwrite: bool = False, **options: Any
) -> Path:
    """Turn a fine-tuned Hugging Face classifier into a teacher bundle, without data.

    The bundle reads texts as the checkpoint's own pipeline does with `truncation=True`: the same maximum length, the
    same side cut off, the same case rule. Its statistics are marked absent: there is no text to count.

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
    _tell(classifier)
    with new_bundle(folder, manifest, overwrite) as new:
        classifier.save(new)
        (new / "README.md").write_text(teacher_card(manifest), encoding="utf-8")
    return folder


def _tell(classifier: Classifier) -> None:
    """Say how the classifier reads texts, and what in its files looks like a mistake."""
    names, side = classifier.label_names, classifier.tokenizer.truncation_side
    kept = "beginning" if side == "right" else "end"
    log.info(
        "Classes: %s. Of a text, up to %d tokens are read; of a longer one, the %s (truncation_side %s).",
        *(", ".join(names), classifier.max_length, kept, side),
    )
    if any(map(_UNNAMED.fullmatch, names)):
        log.warning("The checkpoint has no names for its classes; to give them: --label-names %s", _proposal(names))
    if remark := casing_remark(classifier.tokenizer):
        log.warning("%s", remark)


def _require_names(checkpoint: str, names: Sequence[Any]) -> None:
    if len(set(names)) == len(names) and all(isinstance(name, str) and name.strip() for name in names):
        return
    raise ModelError(
        f"{checkpoint!r} does not name its classes",
        expected="a name for each, no two alike",
        got=", ".join(repr(name) for name in names[:8]),
        fix=f"pass --label-names {_proposal(names)}",
    )


def _proposal(names: Sequence[Any]) -> str:
    """A value of --label-names that can be passed as it is; names that cannot stay are made up."""
    kept = [name if _can_stay(name, names) else f"name{index}" for index, name in enumerate(names)]
    value = ",".join(f"{index}={name}" for index, name in enumerate(kept))
    return f'"{value}"' if " " in value else value


def _can_stay(name: Any, names: Sequence[Any]) -> bool:
    if not isinstance(name, str) or not name.strip() or names.count(name) > 1:
        return False
    return not _UNNAMED.fullmatch(name) and not set(name) & set(",=\"'$`\\")


def _rename_labels(classifier: Classifier, names: str) -> None:
    numbers = [str(index) for index in range(len(classifier.label_names))]
    own = dict(zip(classifier.label_names, numbers, strict=True)) | {number: number for number in numbers}
    mapping = {own.get(key, key): name for key, name in label_mapping(names, distinct=True).items()}
    if set(mapping) != set(numbers):
        raise DataError(
            "--label-names does not fit the checkpoint",
            expected=f"a name for each of {', '.join(numbers)}",
            got=names,
            fix=f"name every class once, as {_proposal(classifier.label_names)}",
        )
    renamed = {int(number): name for number, name in mapping.items()}
    classifier.model.config.id2label = renamed
    classifier.model.config.label2id = {name: index for index, name in renamed.items()}
