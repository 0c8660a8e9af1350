"""Options that several methods share in a test, without those that the chosen one would ignore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distilshift.config import AdaptConfig
from distilshift.config.rules import unused_options


def applicable(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `adapt` that have an effect beside the others."""
    unused = unused_options(AdaptConfig(**options))
    return {name: value for name, value in options.items() if name not in unused}
