"""`distilshift inspect`."""

from __future__ import annotations

import json
from dataclasses import asdict

import rich_click as click
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from distilshift.bundle import CARD
from distilshift.cli.options import printable
from distilshift.inspection import Inspection, inspect
from distilshift.scan.drift_reference import REFERENCE


@click.command(name="inspect")
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the card.")
@click.option("--strict", is_flag=True, help="Also refuse whatever could be a text, or stand for a single text.")
def command(bundle: str, as_json: bool, strict: bool) -> None:
    """Verify every hash of a BUNDLE, then show its card, provenance and contents."""
    found = inspect(bundle, strict=strict)
    if as_json:
        click.echo(json.dumps(asdict(found.manifest), indent=2, ensure_ascii=False))
    else:
        _show(found)
    for note in _notes(found):
        click.echo(printable(note), err=as_json)


def _show(found: Inspection) -> None:
    console, manifest = Console(), found.manifest
    if CARD in manifest.files:
        card = (found.bundle / CARD).read_text(encoding="utf-8")
        console.print(Markdown(printable(card.split("---\n", 2)[-1])))
    match = f"all hashes match but that of {CARD}" if found.edited else "all hashes match"
    table = Table("file", "bytes", "sha256", title=f"{len(found.files)} files, {match}")
    for file in found.files:
        table.add_row(Text(printable(file.name)), f"{file.size_bytes:,}", file.sha256[:16] + "…")
    console.print(table)
    used = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    console.print(Text(printable(f"seed {manifest.seed}, versions {used}")))
    if found.reference_texts is not None:
        console.print(f"{REFERENCE}: aggregates of {found.reference_texts:,} target texts, for distilshift drift")


def _notes(found: Inspection) -> list[str]:
    notes = []
    if found.edited:
        notes.append(f"Edited since the bundle was made: {', '.join(found.edited)}.")
    if found.unlisted:
        notes.append(f"Not part of the bundle, and not loaded: {', '.join(found.unlisted)}.")
    if found.strict:
        notes.append("Strict check passed: nothing in the bundle could be a text or stand for a single text.")
    return notes
