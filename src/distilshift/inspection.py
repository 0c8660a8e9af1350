"""What a bundle holds, verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distilshift.bundle import Kind, Manifest, read_manifest, verify
from distilshift.drift import read_reference
from distilshift.scan.drift_reference import REFERENCE


@dataclass(frozen=True)
class BundleFile:
    """A file that the manifest lists.

    Attributes:
        name: relative to the bundle.
        size_bytes: of its content.
        sha256: hex digest by the manifest.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`.

    Attributes:
        bundle: the folder.
        manifest: the content of its `distilshift.json`.
        files: those that the manifest lists.
        unlisted: harmless files that it does not list, as `LICENSE`, and folders of such, as `.git/`.
        edited: listed files for people to read that were changed since: the card.
        strict: whether the strict check was made; it has passed then.
        reference_texts: target texts whose aggregates `drift` compares new texts with; None if the bundle has none.
    """

    bundle: Path
    manifest: Manifest
    files: tuple[BundleFile, ...]
    unlisted: tuple[str, ...]
    edited: tuple[str, ...]
    strict: bool
    reference_texts: int | None = None

    @property
    def kind(self) -> Kind:
        """Teacher or student."""
        return self.manifest.kind


def inspect(bundle: str | Path, *, strict: bool = False) -> Inspection:
    """Verify every hash of a bundle, and that nothing in it could harm whoever loads it.

    Args:
        bundle: the folder.
        strict: also refuse whatever could be a text, or stand for a single text.

    Raises:
        BundleError: not a bundle, or damaged.
        UnsafeError: a file could harm whoever loads it.
        LeakError: `strict` found what could be a text.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    verified = verify(folder, manifest)
    if strict:
        from distilshift.strict import refuse_texts  # here: most calls do without it

        refuse_texts(folder, manifest, verified)
    files = [BundleFile(name, (folder / name).stat().st_size, digest) for name, digest in manifest.files.items()]
    texts = read_reference(folder, manifest).texts if REFERENCE in manifest.files else None
    return Inspection(folder, manifest, tuple(files), verified.unlisted, verified.edited, strict, texts)
