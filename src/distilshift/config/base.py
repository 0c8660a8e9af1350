"""What all options share: a field with its help, what several stages read, and how values are checked."""

from __future__ import annotations

import operator
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Le

from distilshift.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Precision = Literal["auto", "fp32", "bf16"]
Quoting = Literal["auto", "none", "csv"]

C = TypeVar("C", bound="StageConfig")
# Beyond these, libraries end in exceptions of their own.
MAX_SEED, MAX_THREADS, MAX_BATCH, MAX_CHARS = 2**32 - 1, 4_096, 1_000_000, 2**31 - 1


def option(default: Any, help: str) -> Any:
    """A dataclass field whose help text feeds `--help` and the reference docs."""
    return field(default=default, metadata={"help": help})


def _is_path(value: str) -> bool:
    return os.sep in value and os.path.exists(value)  # noqa: PTH110 - Path.exists raises where a text is too long for a name


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Base of every stage's options."""

    # Read by pydantic: an unknown key is an error, not a shrug, and no option is endless.
    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012

    @classmethod
    def implied(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults that the options which were given change."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """The resolved options as plain values, which are equal to themselves when they come back from JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def portable(self) -> dict[str, Any]:
        """`to_dict` for a bundle that travels: of a path on this machine, only the last name."""
        values = self.to_dict().items()
        return {k: Path(v).name if isinstance(v, str) and _is_path(v) else v for k, v in values}


@dataclass(frozen=True, kw_only=True)
class InputConfig(StageConfig):
    """How a file of texts is read."""

    text_column: str = option("text", "Column that holds the text.")
    pair_column: str | None = option(None, "Column with the second text of a two-text task.")
    encoding: str = option("utf-8", "Character encoding of the file; a UTF-8 byte-order mark is dropped.")
    delimiter: str | None = option(
        None, "Character between cells, or `tab`. Default: as a `sep=` line, the header or the file name tells."
    )
    quoting: Quoting = option(
        "auto",
        "`csv`: double quotes enclose cells. `none`: they are ordinary characters. `auto`: csv for CSV, refusing cells "
        "that may hold several rows; none for TSV, unless the whole file is quoted as CSV.",
    )
    header: bool = option(
        True, "The first line of a CSV or TSV file names the columns; without it, columns are numbered from 0."
    )
    max_chars: Annotated[int, Ge(0), Le(MAX_CHARS)] = option(
        50_000, "A longer text is an error: an unclosed quote, as a rule. 0 means no limit."
    )
    skip_bad: bool = option(False, "Leave out rows that cannot be used, counting them, instead of stopping.")


@dataclass(frozen=True, kw_only=True)
class LabelledInputConfig(InputConfig):
    """How a labelled file is read."""

    label_column: str = option("label", "Column that holds the label.")
    label_names: str | None = option(
        None,
        "Names for labels, as '0=negative,1=positive'; labels may share a name; 'as-is' keeps numbers as names.",
    )
    ignore_label: tuple[str | int, ...] = option(
        (), "Leave out rows with this label, such as -1 where it means `no label`; may be given several times."
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(StageConfig):
    """What every training stage shares."""

    max_length: Annotated[int, Ge(8)] = option(128, "Tokens of a text that the model sees, special ones included.")
    seed: Annotated[int, Ge(0), Le(MAX_SEED)] = option(0, "Seed of every random choice.")
    precision: Precision = option("auto", "bf16 where the hardware multiplies it natively, else fp32.")
    threads: Annotated[int, Ge(0), Le(MAX_THREADS)] = option(0, "CPU threads; 0 leaves it to PyTorch.")


def implying(kind: type[C]) -> type[C]:
    """Make a config dataclass apply `implied` when it is constructed, as `resolve` does."""
    plain = kind.__init__

    @wraps(plain)
    def construct(self: Any, **given: Any) -> None:
        plain(self, **{**kind.implied(given), **given})

    kind.__init__ = construct  # type: ignore[method-assign]
    return kind


def overlaid(kind: type[C], config: C | None, options: Mapping[str, Any]) -> C:
    """A config, validated, with single options in the place of its own.

    What these imply holds where the config has its default; what the config's own options implied goes with them.

    Raises:
        ConfigError: as of `resolve`.
    """
    if config is None:
        return resolve(kind, options)
    if not isinstance(config, kind):
        raise ConfigError(
            "config is no config",
            expected=kind.__name__,
            got=type(config).__name__,
            fix="name single options as arguments, or give the config",
        )
    own = config.to_dict()
    expected = kind().to_dict() | kind.implied(own)
    # What differs from that, somebody has set.
    return resolve(kind, {name: value for name, value in own.items() if value != expected[name]}, options)


def resolve(kind: type[C], *layers: Mapping[str, Any]) -> C:
    """A validated config: defaults, overlaid by each layer in turn.

    Args:
        kind: the config dataclass.
        layers: option names to values; later ones win.

    Raises:
        ConfigError: listing every unknown key, wrong type and out-of-range value at once.
    """
    from pydantic import ValidationError

    given = ((key, value) for layer in layers for key, value in layer.items())
    merged = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in given}
    merged = kind.implied(merged) | merged
    try:
        config: C = _reader(kind).validate_python(merged)  # type: ignore[arg-type]  # mypy: a class is hashable
    except ValidationError as error:
        known = ", ".join(sorted(entry.name for entry in fields(kind)))
        problems = [_explain(entry) for entry in error.errors()]
        unknown = any(entry["type"] == "unexpected_keyword_argument" for entry in error.errors())
        raise ConfigError(
            f"{len(problems)} invalid option(s): " + "; ".join(problems),
            fix=f"known options are {known}" if unknown else "correct them; `--help` lists the ranges",
        ) from None
    return config


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    """What validates a config dataclass, made once each: a benchmark resolves thousands of configs."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _explain(entry: Any) -> str:
    name = ".".join(str(part) for part in entry["loc"]) or "options"
    if entry["type"] == "unexpected_keyword_argument":
        return f"{name} is unknown"
    message = entry["msg"][0].lower() + entry["msg"][1:]
    return f"{name} {message}, got {entry['input']!r}"


def read_toml(path: str | Path) -> dict[str, Any]:
    """The options in a TOML file, unvalidated; `resolve` checks them.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}", got=error.strerror, fix="name a readable TOML file") from None
    except (ValueError, RecursionError) as error:  # TOML's own, Unicode's, and those of endless numbers and brackets
        raise ConfigError(f"{path} is not TOML", got=str(error), fix="correct that line") from None


def require_within(name: str, value: int, least: int, most: int | None = None) -> None:
    """Hold an option of a call that pydantic would slow to its range.

    Raises:
        ConfigError: it is outside, or no whole number.
    """
    try:
        operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} is no whole number", expected="one", got=repr(value)[:40], fix="give one") from None
    if value < least or (most is not None and value > most):
        expected = f"{least} or more" if most is None else f"{least} to {most:,}"
        raise ConfigError(f"{name} is out of its range", expected=expected, got=str(value), fix="choose another")
