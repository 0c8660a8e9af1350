"""`distilshift inspect`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from distilshift.bundle import Manifest, read_manifest, verify


@click.command(name="inspect")
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the card.")
def command(bundle: str, as_json: bool) -> None:
    """Verify every hash of a BUNDLE, then show its card, provenance and contents."""
    folder = Path(bundle)
    manifest = read_manifest(folder)
    verify(folder, manifest)
    if as_json:
        click.echo(json.dumps(asdict(manifest), indent=2, ensure_ascii=False))
        return
    _show(folder, manifest)


def _show(folder: Path, manifest: Manifest) -> None:
    console = Console()
    card = (folder / "README.md").read_text(encoding="utf-8")
    console.print(Markdown(card.split("---\n", 2)[-1]))
    table = Table("file", "bytes", "sha256", title=f"{len(manifest.files)} files, all hashes match")
    for name, digest in manifest.files.items():
        table.add_row(name, f"{(folder / name).stat().st_size:,}", digest[:16] + "…")
    console.print(table)
    console.print(f"seed {manifest.seed}, versions " + ", ".join(f"{k} {v}" for k, v in manifest.versions.items()))
