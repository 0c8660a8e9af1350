"""The one training loop: Accelerate runs it, a run directory makes it resumable."""

from __future__ import annotations

import math
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from distilshift import progress
from distilshift.checkpoint import load_weights, restore_checkpoint, save_checkpoint, save_weights
from distilshift.config import AdaptConfig, TeachConfig
from distilshift.data.batch import WINDOW_BATCHES, shuffled_batches
from distilshift.encoder import plain_attention
from distilshift.first_token import first_token_only
from distilshift.frozen import without_dropout
from distilshift.loss_record import LossRecord, diverged
from distilshift.parallel import Batch, any_of
from distilshift.run import RunDirectory
from distilshift.stage import seconds_setting, seeded
from distilshift.training_log import save_losses

# Shorter on a machine that is often cut off, and in the tests that kill.
CHECKPOINT_SECONDS = seconds_setting("DISTILSHIFT_CHECKPOINT_SECONDS", 60.0)
GRADIENT_NORM = 1.0
# Of a checkpoint, beside the objective's own state.
LOSSES = "losses"


@dataclass(frozen=True)
class LoopConfig:
    """How a loop steps.

    Attributes:
        name: shown to the user, and the name of its checkpoint.
        epochs: passes over the data.
        batch_size: texts a step.
        learning_rate: the peak of a linear warm-up and decay to 0.
        warmup_fraction: share of the steps that warm up.
        weight_decay: AdamW's, see `optimizer_groups`.
        seed: of the order of texts and of dropout.
        dropout: hidden units are dropped, as the model's encoder was trained with.
    """

    name: str
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_fraction: float
    weight_decay: float
    seed: int
    dropout: bool = True


def loop_config(
    name: str, config: TeachConfig | AdaptConfig, epochs: int, batch_size: int, learning_rate: float
) -> LoopConfig:
    """A stage's own numbers, and what its loops share."""
    shared = (config.warmup_fraction, config.weight_decay, config.seed)
    dropout = config.dropout if isinstance(config, AdaptConfig) else True
    return LoopConfig(name, epochs, batch_size, learning_rate, *shared, dropout)


class Objective(ABC):
    """What a stage minimises, with whatever state it carries from step to step.

    Attributes:
        needs_all_tokens: the loss looks at the last layer, which else computes no more than the logits need.
        window_batches: how many batches are sorted by length together.
    """

    needs_all_tokens = False
    window_batches = WINDOW_BATCHES

    @abstractmethod
    def lengths(self, epoch: int) -> NDArray[np.int64]:
        """Tokens of each text of this epoch, to batch like with like."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch) -> Tensor:
        """The scalar to minimise over a batch, by this process's part of it.

        Args:
            model: as Accelerate prepared it; its outputs are those of the objective's own model.
            batch: this process's share; it also knows how to take means over the whole.
        """

    def before_step(self, step: int, steps: int) -> None:  # noqa: B027 - a hook, empty by default
        """Called before each step, `step` counting from 0."""

    def after_epoch(self, epoch: int) -> None:  # noqa: B027 - a hook, empty by default
        """Called after each epoch."""

    def state(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint must hold beside model and optimiser."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027 - a hook, empty by default
        """Put back what `state` gave."""


def learning_rate_at(step: int, steps: int, config: LoopConfig) -> float:
    """Linear warm-up over the first share of the steps, then linear decay to 0 after the last."""
    warmup = max(1, math.ceil(config.warmup_fraction * steps))
    rising = (step + 1) / warmup
    falling = (steps - step) / max(1, steps - warmup + 1)
    return config.learning_rate * min(1.0, rising, falling)


def finished(name: str) -> str:
    """The run's name for the weights that a training ended with."""
    return f"{name}.done"


def train_once(
    model: Any,
    objective: Objective,
    config: LoopConfig,
    accelerator: Accelerator,
    run: RunDirectory,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Train as `train` does, then `finish`; where this run has done so before, take the weights it kept."""
    kept = finished(config.name)
    if kept in run:
        load_weights(run, kept, model)
        return
    losses = train(model, objective, config, accelerator, run)
    if not all(bool(values.isfinite().all()) for values in model.parameters()):
        raise diverged(config.name, config.learning_rate, "weights that are not")
    save_losses(run, config.name, losses, config.batch_size)
    finish()
    save_weights(run, kept, model)
    run.drop(config.name)


def optimizer_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """A model's trainable parameters for AdamW: weight decay is for matrices, not for biases and normalization weights.

    The convention of BERT and of Hugging Face's Trainer; embeddings are matrices.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [each for each in trainable if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in trainable if each.ndim <= 1], "weight_decay": 0.0},
    ]


def train(
    model: Any, objective: Objective, config: LoopConfig, accelerator: Accelerator, run: RunDirectory
) -> list[float]:
    """Minimise the objective over the model's trainable parameters, in place.

    Continues from the run's checkpoint where there is one; SIGINT saves one and raises KeyboardInterrupt.

    Returns:
        the loss of each step.

    Raises:
        ModelError: a loss is not a finite number; the last checkpoint stays.
    """
    groups = optimizer_groups(model, config.weight_decay)
    optimizer = accelerator.prepare(torch.optim.AdamW(groups, lr=config.learning_rate, fused=True))
    losses = LossRecord(config.name, config.learning_rate, accelerator)
    steps_an_epoch = math.ceil(len(objective.lengths(0)) / config.batch_size)
    steps = steps_an_epoch * config.epochs
    done, state = restore_checkpoint(run, config.name, model, optimizer)
    if done:
        losses.load_state(state.pop(LOSSES))
        objective.load_state(state)
    last_save = time.monotonic()
    with (
        _prepared(model, accelerator) as prepared,
        # The fused kernel's backward pass takes twice as long on a CPU.
        plain_attention(model) if accelerator.device.type == "cpu" else nullcontext(),
        nullcontext() if objective.needs_all_tokens else first_token_only(model),
        nullcontext() if config.dropout else without_dropout(model),
        progress.stage(config.name, steps, done) as advance,
        _deferred_interrupt() as interrupted,
    ):
        for step in range(done, steps):
            epoch, within = divmod(step, steps_an_epoch)
            if within == 0 or step == done:
                lengths, windows = objective.lengths(epoch), objective.window_batches
                batches = shuffled_batches(lengths, config.batch_size, config.seed, epoch, windows)
            batch = Batch.share(epoch, batches[within], accelerator)
            losses.add(_step(prepared, objective, optimizer, accelerator, config, (step, steps), batch))
            if within == steps_an_epoch - 1:
                objective.after_epoch(epoch)
            advance(1, losses.summary())
            due = time.monotonic() - last_save > CHECKPOINT_SECONDS
            stop, due = any_of((interrupted(), due), accelerator)
            if stop or due:
                state = objective.state() | {LOSSES: losses.state()}
                save_checkpoint(run, config.name, model, optimizer, state, step + 1)
                last_save = time.monotonic()
            if stop:
                raise KeyboardInterrupt
    return losses.values()


@contextmanager
def _prepared(model: Any, accelerator: Accelerator) -> Iterator[Any]:
    """The model as Accelerate trains it; it is itself again afterwards.

    Accelerate's own unwrapping takes the decorators of Hugging Face's forward for its own and removes them too, after
    which the model ran without autocast, at half the speed.
    """
    forward = model.__dict__.get("forward")
    try:
        yield accelerator.prepare(model)
    finally:
        model.__dict__.pop("_original_forward", None)
        model.__dict__.pop("forward", None)
        if forward is not None:
            model.forward = forward
        accelerator.free_memory()


def _step(
    model: Any,
    objective: Objective,
    optimizer: Any,
    accelerator: Accelerator,
    config: LoopConfig,
    at: tuple[int, int],
    batch: Batch,
) -> Tensor:
    """Take one step; returns this process's part of its loss, a scalar."""
    step, steps = at
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, steps, config)
    with seeded(_seed_of(config.seed, step, accelerator.process_index), accelerator.device):
        objective.before_step(step, steps)
        model.train()
        with accelerator.autocast():
            loss = objective.loss(model, batch)
        accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def _seed_of(seed: int, step: int, process: int) -> int:
    """Each step seeds its own dropout, so that a continued run draws what an uninterrupted one does."""
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0])


@contextmanager
def _deferred_interrupt() -> Iterator[Any]:
    """Note the first Ctrl-C, so that it is acted on between steps; a second one stops at once.

    Who starts the process may have it ignore Ctrl-C, as `nohup` and a shell's `&` do; so it stays then.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield lambda: False
        return
    seen = False

    def note(number: int, frame: object) -> None:
        nonlocal seen
        seen = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        previous = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: signals do not come here
        yield lambda: False
        return
    try:
        yield lambda: seen
    finally:
        signal.signal(signal.SIGINT, previous)
    if seen:  # after the last look at it
        raise KeyboardInterrupt
