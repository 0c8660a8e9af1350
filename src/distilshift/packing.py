"""The files of a student that a device needs, as a bundle of their own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

from distilshift.bundle import new_bundle, read_manifest, verify
from distilshift.config import OnnxChoice
from distilshift.errors import BundleError, ConfigError
from distilshift.files import require_apart, require_free
from distilshift.network import ONNX_FILES
from distilshift.scan.drift_reference import REFERENCE

# What the network reads beside itself.
_DEVICE_FILES = ("config.json", "tokenizer.json")


def pack(student: str | Path, output: str | Path, *, model: OnnxChoice = "auto", overwrite: bool = False) -> Path:
    """Write the files that predicting needs, and a manifest that verifies them.

    Args:
        student: a student bundle.
        output: folder of the new bundle.
        model: the ONNX file to take: fp32, int8, or the one that the bundle recommends.
        overwrite: replace a bundle that is there.

    Returns:
        the new bundle: one ONNX file, the tokenizer, the configuration, `distilshift.json`, and the reference of
            `drift` if the student has one.

    Raises:
        BundleError: not a student bundle, damaged, or without this ONNX file.
        ConfigError: the model is unknown.
        OutputError: the output exists, or cannot be written.
    """
    if model not in get_args(OnnxChoice):
        known = " or ".join(get_args(OnnxChoice))
        raise ConfigError("model is unknown", expected=known, got=str(model), fix="choose one")
    source, target = Path(student), Path(output)
    require_apart(target, source)
    require_free(target, overwrite)
    manifest = read_manifest(source, "student")
    runtime = manifest.runtime or {}
    choice = runtime.get("default", "fp32") if model == "auto" else model
    names = [*_DEVICE_FILES, ONNX_FILES[choice], *([REFERENCE] if REFERENCE in manifest.files else [])]
    if ONNX_FILES[choice] not in manifest.files:
        raise BundleError(f"{source} has no {choice} network", fix="pack the whole student bundle")
    verify(source, manifest, only=tuple(names))
    packed = replace(manifest, runtime=runtime | {"default": choice}, files={})
    with new_bundle(target, packed, overwrite) as new:
        for name in names:
            (new / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, new / name)
    return target
