"""The artefact that travels: a plain Hugging Face folder with a hashed manifest, no text, no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from distilshift.errors import BundleError, UnsafeError
from distilshift.files import MARK, sha256_of, staged_folder, write_json
from distilshift.scan.folder import check_file
from distilshift.scan.json_file import read_object
from distilshift.scan.manifest import wrong_value
from distilshift.scan.names import (
    EXECUTABLE_SUFFIXES,
    MAX_FILES,
    METADATA_FOLDERS,
    is_harmless,
    require_name,
    require_no_archive,
)
from distilshift.wrong_bundle import no_bundle, other_kind

MANIFEST = MARK
# For people: changing it does no harm, and hubs invite to it.
CARD = "README.md"
SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 4 * 1024 * 1024

Kind = Literal["teacher", "student"]


@dataclass(frozen=True)
class Statistics:
    """Aggregates over the source's validation texts that may travel with a teacher.

    Attributes:
        class_prior: share of each class in the training texts; sums to 1.
        validation_confusion: counts[i][j] of class i predicted as class j.
        validation_accuracy: 0 to 1.
        temperature: what the last layer was divided by, so that its probabilities are calibrated.
        validation_confidence: mean of the largest calibrated probability, 0 to 1. This and what follows is None in
            a bundle that was made before these were counted.
        atc_threshold: `select.atc_threshold` of the calibrated predictions' negative entropies, in nats.
        atc_thresholds: quantiles of that threshold over bootstrap samples, ascending: its sampling error.
        balanced_accuracy, macro_f1: 0 to 1.
        class_recall: share of the validation texts of each class that are predicted as it; None for a class that has
            none.
        class_counts: training texts of each class.
    """

    class_prior: list[float]
    validation_confusion: list[list[int]]
    validation_accuracy: float
    temperature: float
    validation_confidence: float | None = None
    atc_threshold: float | None = None
    atc_thresholds: list[float] | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    class_recall: list[float | None] | None = None
    class_counts: list[int] | None = None


@dataclass(frozen=True)
class Manifest:
    """The content of `distilshift.json`.

    Attributes:
        kind: teacher or student.
        label_names: class names in the order of the logits.
        base_model: the encoder it was made from.
        max_length: tokens of a text that the model sees, special ones included.
        seed: the run's seed, or None where nothing was trained.
        config: the resolved options of the stage that made it.
        versions: of distilshift and the libraries it used.
        statistics: aggregates of the source, absent from an imported teacher and from a student.
        runtime: a student's ONNX files and what was measured of them.
        files: name to sha256 (hex) of every other file.
    """

    kind: Kind
    label_names: list[str]
    base_model: str
    max_length: int
    seed: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    statistics: Statistics | None = None
    runtime: dict[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def temperature(self) -> float:
        """The calibration temperature that was folded into a teacher's last linear map."""
        return self.statistics.temperature if self.statistics else 1.0

    @property
    def pair_column(self) -> str | None:
        """The column of second texts of the pairs it was made from; "" for single texts, None where nobody said.

        Of an imported checkpoint nobody did.
        """
        return self.config["pair_column"] or "" if "pair_column" in self.config else None


def _digest(content: dict[str, Any]) -> str:
    """sha256 of a manifest without its own digest."""
    canonical = json.dumps({k: v for k, v in content.items() if k != "sha256"}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Hash every file of `folder` and write the manifest beside them."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    content = asdict(manifest) | {"files": {n: sha256_of(folder / n) for n in names if n != MANIFEST}}
    write_json(folder / MANIFEST, content | {"sha256": _digest(content)})


@contextmanager
def new_bundle(output: Path, manifest: Manifest, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill; it becomes the bundle, hashed and whole, when the block succeeds."""
    with staged_folder(output, overwrite) as folder:
        yield folder
        write_manifest(folder, manifest)


def read_manifest(bundle: Path, kind: Kind | None = None) -> Manifest:
    """The manifest of a bundle, its own digest checked; the files it lists are not (see `verify`).

    Raises:
        BundleError: no bundle there, an edited or truncated manifest, another schema, or not of this `kind`.
    """
    content = _read_json(bundle)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise BundleError(
            f"{bundle / MANIFEST} has another schema",
            expected=f"schema_version {SCHEMA_VERSION}",
            got=repr(content.get("schema_version")),
            fix="use the version of distilshift that wrote it, or make the bundle again",
        )
    if content.get("sha256") != _digest(content):
        raise _damaged(bundle / MANIFEST, "its sha256 does not match its content")
    manifest = _from_json(bundle, content)
    if kind and manifest.kind != kind:
        raise BundleError(
            f"{bundle} is of the wrong kind",
            expected=f"a {kind}",
            got=f"a {manifest.kind}",
            fix=other_kind(bundle, kind),
        )
    return manifest


def _damaged(path: Path, how: str) -> BundleError:
    return BundleError(f"{path} is damaged or edited", got=how, fix="copy the bundle again from where it was made")


def _read_json(bundle: Path) -> dict[str, Any]:
    path = bundle / MANIFEST
    try:
        there = path.is_file()
    except OSError as error:
        raise BundleError(
            f"{bundle} is not a bundle", expected="a folder", got=error.strerror, fix="check the path"
        ) from None
    if not there:
        raise no_bundle(bundle)
    try:
        return read_object(path, MAX_MANIFEST_BYTES)
    except UnsafeError as error:
        raise _damaged(path, str(error.got)) from None
    except OSError as error:
        raise _damaged(path, str(error)) from None


def _known(kind: type[Any], content: dict[str, Any]) -> dict[str, Any]:
    """Without the entries that a later version added: those are optional, or the schema version had changed."""
    names = {entry.name for entry in fields(kind)}
    return {key: value for key, value in content.items() if key in names}


def _from_json(bundle: Path, content: dict[str, Any]) -> Manifest:
    if wrong := wrong_value(content):
        raise _damaged(bundle / MANIFEST, f"no usable {wrong}")
    try:
        values = _known(Manifest, content)
        if values.get("statistics"):
            values["statistics"] = Statistics(**_known(Statistics, values["statistics"]))
        return Manifest(**values)
    except (TypeError, AttributeError) as error:
        raise _damaged(bundle / MANIFEST, str(error)) from None


@dataclass(frozen=True)
class Verified:
    """What a sound bundle has besides what its manifest says.

    Attributes:
        unlisted: files that no loader reads and that the manifest does not list, and folders of such (`.git/`).
        edited: listed files for people to read that were changed since: the card.
    """

    unlisted: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()


def verify(bundle: Path, manifest: Manifest, only: tuple[str, ...] | None = None, *, scan: bool = True) -> Verified:
    """Check the files a manifest lists against their hashes, and that nothing there could harm whoever loads it.

    The hashes find damage; whoever makes a bundle makes them, too. So each file is looked at before anything loads it.

    Args:
        bundle: the folder.
        manifest: its manifest.
        only: just these files, for a start that reads no others.
        scan: look at what is in them, too; off where the caller does.

    Returns:
        what is harmless and yet not as it was made; of the whole folder if `only` is None.

    Raises:
        BundleError: naming the first file that is missing, changed, leads out of the bundle, or is not listed although
            something could load it.
        UnsafeError: a file is not what its name says, or could harm whoever loads it.
    """
    if len(manifest.files) > MAX_FILES:
        raise _damaged(bundle / MANIFEST, f"{len(manifest.files):,} files listed")
    for name in manifest.files:
        require_name(bundle, name)
    edited = []
    for name in only if only is not None else sorted(manifest.files):
        path = bundle / name
        if name not in manifest.files:
            raise _damaged(path, "the manifest does not list it")
        if not path.is_file():
            raise _damaged(path, "it is missing")
        if not _is_within(path, bundle):
            raise _damaged(path, "it leads out of the bundle")
        if sha256_of(path) != manifest.files[name]:
            if name != CARD:
                raise _damaged(path, f"its sha256 is not the manifest's {manifest.files[name][:12]}…")
            edited.append(name)
        if scan:
            check_file(path)
    return Verified(tuple(_unlisted(bundle, manifest)) if only is None else (), tuple(edited))


def _is_within(path: Path, bundle: Path) -> bool:
    """Whether a file lies in the bundle, or where the hub's cache has the files of its snapshots.

    That is `blobs` beside `snapshots`, for a bundle that is a folder of `snapshots`.
    """
    target, folder = path.resolve(), bundle.resolve()
    blobs = folder.parents[1] / "blobs" if folder.parent.name == "snapshots" else None
    return target.is_relative_to(folder) or target.parent == blobs


def _unlisted(bundle: Path, manifest: Manifest) -> Iterator[str]:
    """The harmless files that the manifest does not list.

    Raises:
        BundleError: one could be loaded, or leads out of the bundle.
        UnsafeError: one is an archive, a pickle or a program by its content.
    """
    known = {MANIFEST, *manifest.files}
    known |= {parent.as_posix() for name in manifest.files for parent in PurePosixPath(name).parents}
    waiting = [bundle]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            name = path.relative_to(bundle).as_posix()
            if path.is_symlink() and not (path.is_file() and _is_within(path, bundle)):
                raise _foreign(path, "a link")
            if path.is_dir():
                is_metadata = name in METADATA_FOLDERS
                waiting += [] if is_metadata else [path]
                if name not in known:
                    yield f"{name}/"
            elif name not in known:
                if path.suffix.lower() in EXECUTABLE_SUFFIXES:
                    raise _foreign(path, "a file that could run code")
                if not path.is_file() or not is_harmless(path.name):
                    raise _foreign(path, "a file that a loader could take for a part of the model")
                require_no_archive(path)
                yield name


def _foreign(path: Path, got: str) -> BundleError:
    return BundleError(f"{path} does not belong to the bundle", got=got, fix="remove it, or copy the bundle again")
