"""Command-line options made from a config dataclass: the dataclass is the only place that knows them."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import rich_click as click
from annotated_types import Ge, Gt, Le, Lt

from distilshift.config import StageConfig, read_toml, resolve

Command = Callable[..., Any]
C = TypeVar("C", bound=StageConfig)


def source_of(names: tuple[str, ...]) -> str | list[Path]:
    """The arguments of a command that name its input: one as it is, several as files."""
    return names[0] if len(names) == 1 else [Path(name) for name in names]


def printable(text: str) -> str:
    """A text of unknown origin without what a terminal would take for a command."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


@dataclass(frozen=True)
class StageCall(Generic[C]):
    """What the user asked of a verb that trains.

    Attributes:
        config: its options, checked.
        output: the folder to write.
        overwrite: replace a bundle that is there.
        fresh: discard an unfinished run.
        num_processes: how many of this machine share the work.
    """

    config: C
    output: str
    overwrite: bool
    fresh: bool
    num_processes: int


# What `teach` and `adapt` take beside their stage's options, in the order of `--help`.
CALL_OPTIONS = (
    click.option("-o", "--output", required=True, help="Folder of the bundle that is made."),
    click.option("--config", "config_file", help="TOML file of options; those given here win."),
    click.option("--overwrite", is_flag=True, help="Replace a bundle that is there."),
    click.option("--fresh", is_flag=True, help="Discard an unfinished run instead of continuing it."),
    click.option(
        "--num-processes",
        type=click.IntRange(min=1),
        default=1,
        help="Processes on this machine, one a GPU or a share of the cores. Default: 1. "
        "For several machines: accelerate launch -m distilshift ...",
    ),
)


def stage_options(kind: type[C]) -> Callable[[Command], Command]:
    """Give a command the options of a verb that trains; it gets its arguments and one StageCall, as `call`."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(config_file: str | None, **values: Any) -> None:
            options = {field.name: values.pop(field.name) for field in fields(kind)}
            asked = {field.name: values.pop(field.name) for field in fields(StageCall) if field.name != "config"}
            command(**values, call=StageCall(config=resolve(kind, chosen(options, config_file)), **asked))

        decorated = config_options(kind)(called)
        for option in reversed(CALL_OPTIONS):
            decorated = option(decorated)
        return decorated

    return decorate


def config_options(kind: type[StageConfig]) -> Callable[[Command], Command]:
    """Give a command one option a field of `kind`, each None or () unless the user sets it; see `chosen`."""
    hints = get_type_hints(kind, include_extras=True)

    def decorate(command: Command) -> Command:
        # The stage's own options come first, those it shares with other stages after them.
        own = [field for field in fields(kind) if field.name in kind.__annotations__]
        shared = [field for field in fields(kind) if field.name not in kind.__annotations__]
        for field in reversed([*own, *shared]):
            command = _option(field, hints[field.name])(command)
        return command

    return decorate


def chosen(values: dict[str, Any], config_file: str | None = None) -> dict[str, Any]:
    """The options that the user set: those of the file, overlaid by those of the command line."""
    from_file = read_toml(config_file) if config_file else {}
    return from_file | {name: value for name, value in values.items() if value not in (None, ())}


def _option(field: Field[Any], hint: Any) -> Callable[[Command], Command]:
    flag = "--" + field.name.replace("_", "-")
    help_text = field.metadata["help"]
    if hint is bool:
        on, off = flag, f"--no-{flag[2:]}"
        shown = f" Default: {on if field.default else off}."
        return click.option(f"{on}/{off}", field.name, default=None, help=help_text + shown)
    if get_origin(hint) is tuple:
        return click.option(flag, field.name, type=param_type(get_args(hint)[0]), multiple=True, help=help_text)
    shown = "" if field.default is None else f" Default: {field.default}."
    flags = [short, flag] if (short := field.metadata["short"]) else [flag]
    return click.option(*flags, field.name, type=param_type(hint), default=None, help=help_text + shown)


def param_type(hint: Any) -> click.ParamType:
    """The click type of an annotation: choices for a Literal, a range where bounds are annotated."""
    bounds: tuple[Any, ...] = ()
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(member for member in get_args(hint) if member is not type(None))
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        bounds = tuple(rest)
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    if hint in (int, float):
        return (click.IntRange if hint is int else click.FloatRange)(**_limits(bounds))
    return click.STRING


def _limits(bounds: tuple[Any, ...]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for bound in bounds:
        if isinstance(bound, Ge | Gt):
            limits |= {"min": bound.ge if isinstance(bound, Ge) else bound.gt, "min_open": isinstance(bound, Gt)}
        if isinstance(bound, Le | Lt):
            limits |= {"max": bound.le if isinstance(bound, Le) else bound.lt, "max_open": isinstance(bound, Lt)}
    return limits
