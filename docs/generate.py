"""Write docs/reference.md from the config dataclasses; a test compares the file with what this gives."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from distilshift import config

STAGES = {
    "teach": config.TeachConfig,
    "import": config.ImportConfig,
    "adapt": config.AdaptConfig,
    "pareto": config.ParetoConfig,
    "evaluate": config.EvaluateConfig,
    "query": config.QueryConfig,
    "predict": config.PredictConfig,
    "drift": config.DriftConfig,
    "demo": config.DemoConfig,
}
HEAD = """# Options

Made by `make docs` from `src/distilshift/config/`. A command takes each option as `--option-name`, the Python function
of its name as a keyword (`import` is `import_checkpoint`; of `predict`'s, `Predictor.load` takes `model`, `threads` and
`max_windows`, its methods `batch_size`). `teach` and `adapt` take them from a TOML file, too (`--config`), as
`option_name = value`, and `pareto` those of `adapt`. What a command has besides, as `-o`, `--overwrite` or `--json`, is
in `distilshift VERB --help`.
"""


def _bounds(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        hint = next(member for member in get_args(hint) if member is not type(None))
    if get_origin(hint) is not Annotated:
        return ""
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    parts = [f"{signs[type(bound)][0]} {getattr(bound, signs[type(bound)][1])}" for bound in get_args(hint)[1:]]
    return ", ".join(parts)


def _choices(hint: Any) -> str:
    values = get_args(hint)
    return ", ".join(map(str, values)) if values and all(isinstance(value, str) for value in values) else ""


def reference() -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    for verb, kind in STAGES.items():
        hints = get_type_hints(kind, include_extras=True)
        parts.append(f"\n## {verb}\n\n{(kind.__doc__ or '').splitlines()[0]}\n")
        parts.append("| option | default | range | meaning |\n|---|---|---|---|")
        for field in sorted(fields(kind), key=lambda entry: entry.name):
            hint = hints[field.name]
            limit = _bounds(hint) or _choices(hint)
            parts.append(f"| `{field.name}` | `{field.default}` | {limit} | {field.metadata['help']} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("reference.md").write_text(reference(), encoding="utf-8")
