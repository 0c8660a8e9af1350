"""`distilshift pack`."""

from __future__ import annotations

from typing import get_args

import rich_click as click

from distilshift.config import OnnxChoice


@click.command(name="pack")
@click.argument("student")
@click.option("-o", "--output", required=True, help="Folder of the bundle that is made.")
@click.option(
    "--model",
    type=click.Choice(get_args(OnnxChoice)),
    default="auto",
    help="ONNX file to take; auto takes the one that the bundle recommends. Default: auto.",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
def command(student: str, output: str, model: OnnxChoice, overwrite: bool) -> None:
    """Copy the files of a STUDENT that a device needs into a bundle of their own, which inspect and predict take."""
    from distilshift.packing import pack

    bundle = pack(student, output, model=model, overwrite=overwrite)
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    click.echo(f"Device files in {bundle}: {size / 1e6:.1f} MB.")
