"""The one loop, on a line that can be fitted."""

import math

import pytest
import torch

from jobs.console import Problem
from models.training.loop import Settings, choose_device, fit, rate_at

X = torch.linspace(-1, 1, 32).unsqueeze(1)


def line(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(1, 1)


def batches(epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(X[:16], 3 * X[:16] + 1), (X[16:], 3 * X[16:] + 1)]


def loss(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return torch.nn.functional.mse_loss(model(batch[0]), batch[1])


def test_it_learns_a_line() -> None:
    model = line()
    history = fit(model, batches, loss, Settings(epochs=60, rate=0.2, weight_decay=0, device="cpu"))
    assert history.losses[-1] < 1e-3 < history.losses[0]
    assert history.steps == 120 and model.weight.item() == pytest.approx(3, abs=0.05)


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights() -> float:
        model = line()
        fit(model, batches, loss, Settings(epochs=3, rate=0.1, device="cpu"))
        return model.weight.item()

    assert weights() == weights()


def test_it_stops_early_and_keeps_the_best_epoch() -> None:
    seen: list[float] = []
    figures = iter([0.1, 0.5, 0.4, 0.3, 0.9])

    def validate(model: torch.nn.Module) -> float:
        seen.append(model.weight.item())
        return next(figures)

    model = line()
    history = fit(model, batches, loss, Settings(epochs=5, rate=0.1, patience=2, device="cpu"), validate)
    assert (history.best_epoch, history.validation) == (1, [0.1, 0.5, 0.4, 0.3])
    assert model.weight.item() == seen[1]


def test_a_loss_that_is_no_number_is_a_problem() -> None:
    with pytest.raises(Problem, match="nan"):
        fit(line(), batches, lambda m, b: loss(m, b) * math.nan, Settings(device="cpu"))


def test_no_batch_is_a_problem() -> None:
    with pytest.raises(Problem, match="nothing to train on"):
        fit(line(), lambda epoch: [], loss, Settings(device="cpu"))


def test_the_rate_warms_up_and_falls() -> None:
    rates = [rate_at(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == sorted(rates[:10]) and rates[9] == 1 and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01 and min(rates) >= 0
    assert rate_at(0, 1, 0.0) == 1


def test_every_step_is_told() -> None:
    steps: list[int] = []
    fit(line(), batches, loss, Settings(epochs=2, device="cpu"), on_step=lambda step, value: steps.append(step))
    assert steps == [0, 1, 2, 3]


def test_a_device_that_is_not_there_is_a_problem() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(Problem, match="CUDA"):
        choose_device("cuda")
