"""The one training loop: a model, batches, a loss of a batch. Read it from end to end.

It knows nothing of items or texts. Who trains brings the model, the batches of an epoch, the loss
of a batch and, if there is one, a figure on validation data to stop by.
"""

import copy
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.console import Problem, say

if TYPE_CHECKING:
    import torch

    from models.training.privacy import PrivateSteps


@dataclass(frozen=True)
class Settings:
    """How a model was trained; saved beside its weights. `warmup` is a share of all steps, from 0 to 1."""

    epochs: int = 1
    rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip: float = 1.0
    patience: int = 2
    seed: int = 1
    steps_per_epoch: int | None = None
    device: str = "auto"


@dataclass
class History:
    """What happened: mean loss and validation figure by epoch; the epoch whose weights were kept (from 0); and the
    kind of device it happened on, since another kind gives other last digits."""

    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    device: str = ""


def choose_device(wanted: str = "auto") -> str:
    """'cuda' where there is one, else 'cpu'; a `Problem` if a device is asked for that is not there."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise Problem("no CUDA device on this machine", do="leave the device to 'auto'")
    return wanted


def seed_everything(seed: int) -> None:
    """Same seed, same numbers from Python, numpy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def rate_at(step: int, total: int, warmup: float) -> float:
    """Factor of the learning rate at `step` (from 0): linear up over the warmup's share, then a cosine to 0.

    >>> rate_at(0, 10, 0.2), rate_at(1, 10, 0.2), round(rate_at(2, 10, 0.2), 3), round(rate_at(9, 10, 0.2), 3)
    (0.5, 1.0, 1.0, 0.038)
    """
    rising = max(1, round(total * warmup)) if warmup > 0 else 0
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def fit(
    model: "torch.nn.Module",
    batches: Callable[[int], Iterable[Any]],
    loss: Callable[[Any, Any], "torch.Tensor"],
    settings: Settings,
    validate: Callable[[Any], float] | None = None,
    on_step: Callable[[int, float], None] | None = None,
    private: "PrivateSteps | None" = None,
) -> History:
    """Train `model` in place; it ends with the weights of the epoch that validated best.

    `batches(epoch)` gives the batches of one epoch; `loss(model, batch)` a scalar; `validate(model)`
    a figure where more is better. `on_step(step, loss)` is told of every step. Where the number of
    steps is not said in the settings, the batches of the first epoch are counted, so they are held
    in memory once. Stops after `patience` epochs without a better figure. Raises `Problem` if the
    loss is not a number: weights after that are worth nothing.

    `private` steps (models/training/privacy.py, whose `fit_privately` is the way in) take lists of parts as batches and
    a loss for each visitor. They end with the last weights and tell no loss, which no noise covers.
    """
    import torch

    if private is not None and (validate is not None or on_step is not None):
        raise ValueError(
            "private training tells nothing of its data on the way: neither a loss nor a validation figure"
        )
    seed_everything(settings.seed)
    device = choose_device(settings.device)
    model.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    first = None if settings.steps_per_epoch else list(batches(0))
    per_epoch = settings.steps_per_epoch or len(first or [])
    if not per_epoch:
        raise Problem("nothing to train on: the first epoch has no batch", do="look at the examples' row counts")
    total, history, began = per_epoch * settings.epochs, History(device=device), time.monotonic()
    best, kept = -math.inf, None
    step = None if private is None else private.taker(model, loss, optimiser)
    for epoch in range(settings.epochs):
        model.train()
        losses = []
        for batch in first if epoch == 0 and first is not None else batches(epoch):
            for group in optimiser.param_groups:
                group["lr"] = settings.rate * rate_at(history.steps, total, settings.warmup)
            if step is not None:
                step(batch)
                history.steps += 1
                continue
            optimiser.zero_grad(set_to_none=True)
            value = loss(model, batch)
            figure = float(value.detach())
            if not math.isfinite(figure):
                raise Problem(f"the loss is {figure} at step {history.steps}", do="lower the learning rate")
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimiser.step()
            losses.append(figure)
            if on_step is not None:
                on_step(history.steps, figure)
            history.steps += 1
        first = None
        if step is not None:
            took = f"{time.monotonic() - began:.0f} s"
            say(f"  epoch {epoch + 1}/{settings.epochs}: {history.steps} private steps, {took}")
            continue
        history.losses.append(sum(losses) / max(1, len(losses)))
        line = f"  epoch {epoch + 1}/{settings.epochs}: loss {history.losses[-1]:.4f}"
        if validate is not None:
            model.eval()
            with torch.no_grad():
                score = validate(model)
            history.validation.append(score)
            line += f", validation {score:.4f}"
            if score > best:
                best, kept, history.best_epoch = score, copy.deepcopy(model.state_dict()), epoch
        say(f"{line}, {time.monotonic() - began:.0f} s")
        if validate is not None and epoch - history.best_epoch >= settings.patience:
            break
    if step is not None:
        step.release()
    if kept is not None:
        model.load_state_dict(kept)
    else:
        history.best_epoch = (len(history.losses) or settings.epochs) - 1
    model.eval()
    history.seconds = time.monotonic() - began
    return history
