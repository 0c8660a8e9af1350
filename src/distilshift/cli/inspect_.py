"""`distilshift inspect`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from distilshift.bundle import Manifest, read_manifest, verify
from distilshift.cli.options import printable


@click.command(name="inspect")
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the card.")
@click.option("--strict", is_flag=True, help="Also refuse whatever could be a text, or stand for a single text.")
def command(bundle: str, as_json: bool, strict: bool) -> None:
    """Verify every hash of a BUNDLE, then show its card, provenance and contents."""
    folder = Path(bundle)
    manifest = read_manifest(folder)
    if strict:
        from distilshift.strict import require_strict

        require_strict(folder)
    else:
        verify(folder, manifest)
    if as_json:
        click.echo(json.dumps(asdict(manifest), indent=2, ensure_ascii=False))
        return
    _show(folder, manifest)


def _show(folder: Path, manifest: Manifest) -> None:
    console = Console()
    card = (folder / "README.md").read_text(encoding="utf-8")
    console.print(Markdown(printable(card.split("---\n", 2)[-1])))
    table = Table("file", "bytes", "sha256", title=f"{len(manifest.files)} files, all hashes match")
    for name, digest in manifest.files.items():
        table.add_row(Text(printable(name)), f"{(folder / name).stat().st_size:,}", digest[:16] + "…")
    console.print(table)
    used = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    console.print(Text(printable(f"seed {manifest.seed}, versions {used}")))
