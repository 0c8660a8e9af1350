"""The teacher that a caller names: a bundle, or a file of probabilities in its place."""

from __future__ import annotations

import logging
from pathlib import Path

from distilshift.black_box import BlackBox
from distilshift.bundle import Manifest, read_manifest, verify
from distilshift.config import AdaptConfig
from distilshift.errors import ConfigError

_LOG = logging.getLogger("distilshift")


def open_teacher(teacher: str | Path | None, config: AdaptConfig) -> tuple[Path | BlackBox, Manifest]:
    """The bundle's folder, checked, or a teacher of which only probabilities are known; and what there is to know."""
    if (teacher is None) != bool(config.teacher_probabilities):
        raise ConfigError(
            "a teacher comes as a bundle or by its probabilities",
            expected="one of teacher and teacher_probabilities",
            got="none" if teacher is None else "both",
            fix="name a teacher bundle, or pass --teacher-probabilities and no bundle",
        )
    if teacher is None:
        box = BlackBox.open(config)
        return box, box.manifest(config)
    source = Path(teacher)
    manifest = read_manifest(source, "teacher")
    verify(source, manifest)
    if config.max_length < manifest.max_length:
        _LOG.warning(
            "The teacher was taught on %d tokens of a text, and reads %d here; what it knows of its own domain is of "
            "the former. --max-length %d, or max_length, reads as many.",
            *(manifest.max_length, config.max_length, manifest.max_length),
        )
    if manifest.max_length < config.max_length != AdaptConfig.max_length:  # somebody asked for more than there is
        _LOG.warning(
            "The teacher sees %d tokens of a text, and so does its student: of max_length %d, the rest is not used.",
            *(manifest.max_length, config.max_length),
        )
    return source, manifest
