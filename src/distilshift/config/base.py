"""What all options share: a field with its help, what several stages read, and how values are checked."""

from __future__ import annotations

import operator
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import InitVar, asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Le

from distilshift.config.readers import read_delimiter, read_encoding, read_label_names
from distilshift.config.values import ValueProblem, checks_of
from distilshift.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]
Quoting = Literal["auto", "none", "csv"]

C = TypeVar("C", bound="StageConfig")
# Beyond these, libraries end in exceptions of their own.
MAX_SEED, MAX_THREADS, MAX_BATCH, MAX_CHARS = 2**32 - 1, 4_096, 1_000_000, 2**31 - 1


def option(default: Any, help: str, read: Callable[[Any], Any] | None = None, short: str | None = None) -> Any:
    """A dataclass field whose help text feeds `--help` and the reference docs.

    Args:
        default: its value where none is given.
        help: what it does.
        read: turns Python values of other types, such as a mapping, into the string that the field holds; of
            `config.readers`.
        short: one-letter flag of the command line, such as "-n".
    """
    return field(default=default, metadata={"help": help, "read": read, "short": short})


def _is_path(value: str) -> bool:
    return os.sep in value and os.path.exists(value)  # noqa: PTH110 - Path.exists raises where a text is too long for a name


class _Validating(type):
    """Checks a config's options, and applies what they imply, before the dataclass sees them."""

    def __call__(cls, **options: Any) -> Any:
        """Make the config.

        Raises:
            ConfigError: listing every unknown key, wrong type and out-of-range value at once.
        """
        checked = validated(cls, {name: value for name, value in options.items() if name != "given"})
        chosen = chosen_options(cls, checked, list(options), options.get("given"))
        return super().__call__(**cls.implied(chosen) | chosen, given=frozenset(chosen))  # type: ignore[attr-defined]  # of StageConfig


@dataclass(frozen=True, kw_only=True)
class StageConfig(metaclass=_Validating):
    """Base of every stage's options.

    Options are validated on construction. A config knows which of them were `given`: the others follow from these, and
    follow them when a config is changed by `dataclasses.replace` or by single options beside it.
    """

    # Names of the options that were given. As a pseudo-field it is no option, and `replace` hands it on.
    given: InitVar[frozenset[str]] = frozenset()

    def __post_init__(self, given: frozenset[str]) -> None:
        object.__setattr__(self, "given", given)

    @classmethod
    def implied(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults that the options which were given change."""
        return {}

    def chosen(self) -> dict[str, Any]:
        """The options that were given, with their values."""
        given: frozenset[str] = self.given  # type: ignore[attr-defined]  # set in __post_init__; mypy sees an InitVar
        return {name: getattr(self, name) for name in given}

    def to_dict(self) -> dict[str, Any]:
        """The resolved options as plain values, which are equal to themselves when they come back from JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def portable(self) -> dict[str, Any]:
        """`to_dict` for a bundle that travels: of a path on this machine, only the last name."""
        values = self.to_dict().items()
        return {k: Path(v).name if isinstance(v, str) and _is_path(v) else v for k, v in values}


def chosen_options(
    kind: Any, options: dict[str, Any], order: list[str], given: frozenset[str] | None
) -> dict[str, Any]:
    """The options that someone chose, of all those that a config is constructed with.

    `dataclasses.replace` constructs with the changes, then the pseudo-field `given`, then the fields that stay as they
    are; of these, only the given ones were chosen. A full set of values without `given` is the record of a resolved
    config, as bundles keep it: what differs from the defaults was chosen.
    """
    if given is not None:
        changed = order[: order.index("given")]
        return {name: value for name, value in options.items() if name in changed or name in given}
    if options and len(options) == len(fields(kind)):
        expected = asdict(kind()) | kind.implied(options)
        return {name: value for name, value in options.items() if value != expected[name]}
    return options


def validated(kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options in their annotated types.

    Raises:
        ConfigError: listing every unknown key, wrong type and out-of-range value at once.
    """
    checks, values, problems = checks_of(kind), {}, []
    for name, value in options.items():
        if name not in checks:
            problems.append(f"{name} is unknown")
            continue
        try:
            values[name] = checks[name](value)
        except ValueProblem as problem:
            problems.append(f"{name} {problem}, got {value!r}")
    if problems:
        known, unknown = ", ".join(sorted(checks)), any(name not in checks for name in options)
        raise ConfigError(
            f"{len(problems)} invalid option(s): " + "; ".join(problems),
            fix=f"known options are {known}" if unknown else "correct them; `--help` lists the ranges",
        )
    return values


@dataclass(frozen=True, kw_only=True)
class InputConfig(StageConfig):
    """How a file of texts is read."""

    text_column: str = option("text", "Column that holds the text.")
    pair_column: str | None = option(None, "Column with the second text of a two-text task.")
    encoding: str = option(
        "utf-8", "Character encoding of the file; a UTF-8 byte-order mark is dropped.", read_encoding
    )
    delimiter: str | None = option(
        None,
        "Character between cells, or `tab`. Default: as a `sep=` line, the header or the file name tells.",
        read_delimiter,
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
        read_label_names,
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


def overlaid(kind: type[C], config: C | None, options: Mapping[str, Any]) -> C:
    """A config with single options in the place of its own.

    Defaults that the options together imply are applied where neither the config nor the options have a value given.

    Raises:
        ConfigError: the config is of another kind, or as of `resolve`.
    """
    if config is None:
        return kind(**options)
    if not isinstance(config, kind):
        raise ConfigError(
            "config is no config",
            expected=kind.__name__,
            got=type(config).__name__,
            fix="name single options as arguments, or give the config",
        )
    return kind(**config.chosen() | dict(options))


def resolve(kind: type[C], *layers: Mapping[str, Any]) -> C:
    """A validated config: defaults, overlaid by each layer in turn.

    Args:
        kind: the config dataclass.
        layers: option names to values; later ones win.

    Raises:
        ConfigError: listing every unknown key, wrong type and out-of-range value at once.
    """
    return kind(**{name: value for layer in layers for name, value in layer.items()})


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
    """Hold an option of a call to its range.

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
