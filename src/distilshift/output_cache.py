"""What models said of texts, kept for other runs in a folder that they share.

A file's name is a hash of all that decides its content: weights, architecture, token ids, precision, kind of device,
versions, and distilshift's own code. So a model that has changed, by adaptation say, finds nothing that was another
one's, and no file is ever out of date.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np

from distilshift.data.batch import TokenStore
from distilshift.encoder import Classifier
from distilshift.errors import UnsafeError
from distilshift.files import new_file, output_errors
from distilshift.journal import fingerprint
from distilshift.mapped import Arrays, map_arrays
from distilshift.run import Crew, fingerprint_array
from distilshift.scan.tensors import metadata_of, tensor_shapes
from distilshift.stage import code_sha256, versions

_LOG = logging.getLogger("distilshift")

# Of a model's configuration, what says where it came from and not what it is.
ORIGIN = ("_name_or_path", "transformers_version")
# Texts whose token ids are hashed at once.
CHUNK_TEXTS = 1_024
# Of a file's notes: what its arrays are hashed to, since it outlives the run that made it.
_DIGEST = "sha256"


def kept_outputs(folder: Path, key: str, crew: Crew) -> Arrays | None:
    """What a run has kept under this key, memory-mapped; None where none has, or what it kept is damaged.

    Args:
        folder: that runs share; it need not exist.
        key: as `key_of` made it.
        crew: processes that make the same call; the first one looks for all.
    """
    path = _path(folder, key)
    found = _readable(path) if crew.leads else None
    if not crew.total(np.array([found is not None], np.int64))[0]:
        return None
    return map_arrays(path) if found is None else found


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _readable(path: Path) -> Arrays | None:
    if not path.is_file():
        return None
    try:
        tensor_shapes(path)  # a header that has been damaged is refused before anything is made of it
        arrays = map_arrays(path)
        if metadata_of(path).get(_DIGEST) == _digest(arrays):
            return arrays
    except (ValueError, KeyError, TypeError, AttributeError, UnsafeError):  # what a damaged header comes to
        pass
    _LOG.warning("%s is damaged and is made anew", path)
    return None


def _digest(arrays: Arrays) -> str:
    return fingerprint({name: fingerprint_array(values) for name, values in sorted(arrays.items())})


def keep_outputs(folder: Path, key: str, values: Arrays, crew: Crew) -> None:
    """Keep outputs for other runs; the folder is made where missing.

    Raises:
        OutputError: it cannot be written.
    """
    from safetensors.numpy import save_file

    path = _path(folder, key)
    if crew.leads:
        # Whole and on the disk before it has its name.
        with output_errors(path), new_file(path, overwrite=True) as part:
            save_file(values, part, {_DIGEST: _digest(values)})


def key_of(classifier: Classifier, store: TokenStore, span: slice, precision: str) -> str:
    """sha256 (hex) of all that decides what a classifier says of texts.

    Not part of it: how many threads or processes compute, which changes the last digits only.

    Args:
        classifier: with the weights as they are now.
        store: its tokens.
        span: of these texts.
        precision: what it runs in, and on what kind of device.
    """
    model = classifier.model
    weights = {name: fingerprint_array(value.detach().cpu().numpy()) for name, value in model.state_dict().items()}
    config = {name: value for name, value in model.config.to_dict().items() if name not in ORIGIN}
    return fingerprint([weights, config, _tokens(store, span), precision, versions(), code_sha256()])


def _tokens(store: TokenStore, span: slice) -> str:
    digest = hashlib.sha256()
    first, last, _ = span.indices(len(store))
    for start in range(first, last, CHUNK_TEXTS):
        batch = store.batch(np.arange(start, min(start + CHUNK_TEXTS, last)))
        for name in sorted(batch):
            digest.update(f"{name} {fingerprint_array(batch[name])}".encode())
    return digest.hexdigest()
