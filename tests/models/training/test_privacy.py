"""The promise about one visitor: the noise is there, what a visitor adds is bounded, and what is told was spent."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.console import Problem, Usage
from models.training.loop import Settings, fit
from models.training.privacy import (
    Budget,
    Chance,
    Privacy,
    PrivateSteps,
    check_epsilon,
    drawn,
    fit_privately,
    noise_for,
    promise,
    sealed,
    spent,
    usual_delta,
)

PROMISE = Privacy(epsilon=3, delta=1e-4, clip=1.0)
Visitor = tuple[torch.Tensor, torch.Tensor]


def visitors(count: int, seed: int = 0) -> list[Visitor]:
    """Points of the line 3x + 1, three a visitor: features (3, 1) and answers (3,)."""
    generator = torch.Generator().manual_seed(seed)
    xs = torch.rand(count, 3, 1, generator=generator) * 2 - 1
    return [(x, 3 * x[:, 0] + 1) for x in xs]


def line() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def losses(model: Any, part: Visitor) -> torch.Tensor:
    return ((model(part[0])[..., 0] - part[1]) ** 2).mean(1)


def parted(data: Sequence[Visitor]) -> Any:
    return lambda some: (torch.stack([data[n][0] for n in some]), torch.stack([data[n][1] for n in some]))


def weights_of(model: torch.nn.Module) -> list[float]:
    return [float(value) for weight in model.parameters() for value in weight.detach().flatten()]


def trained(
    data: Sequence[Visitor], privacy: Privacy, noise: float, expected: float = 16, epochs: int = 2, at_once: int = 32
) -> tuple[list[float], Budget]:
    model, budget = line(), Budget(privacy)
    fit_privately(model, [3] * len(data), parted(data), losses, Settings(epochs=epochs, rate=0.05, device="cpu"),
                  budget, noise=noise, expected=expected, at_once=at_once)  # fmt: skip
    return weights_of(model), budget


# --- Noise and draws ---


def test_two_private_runs_differ_and_a_seed_makes_them_the_same() -> None:
    data = visitors(64)
    assert trained(data, PROMISE, 1.0)[0] != trained(data, PROMISE, 1.0)[0]
    seeded = replace(PROMISE, seed=1)
    assert (
        trained(data, seeded, 1.0)[0] == trained(data, seeded, 1.0)[0] != trained(data, replace(seeded, seed=2), 1)[0]
    )


def test_noise_has_the_spread_it_was_asked_for() -> None:
    # No visitor has a gradient here, so that every weight's gradient is noise alone, over the expected visitors.
    budget, model = Budget(replace(PROMISE, clip=0.5, seed=3)), torch.nn.Sequential(torch.nn.Linear(100, 100))
    taker = PrivateSteps(budget, 4.0, 0.1, 20.0).taker(
        model, lambda net, x: net(x).sum((1, 2)) * 0, torch.optim.SGD(model.parameters(), lr=0.0)
    )
    taker([torch.ones(5, 1, 100)])
    got = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    assert float(got.std()) == pytest.approx(4.0 * 0.5 / 20, rel=0.03) and abs(float(got.mean())) < 0.004


def test_random_numbers_are_uniform_and_normal_and_nobody_can_foretell_them() -> None:
    uniform, normal = Chance(1).uniform(200_000), Chance(1).normal(200_000)
    assert 0 < uniform.min() < 1e-3 and 1 - 1e-3 < uniform.max() < 1 and uniform.mean() == pytest.approx(0.5, abs=0.005)
    assert normal.mean() == pytest.approx(0, abs=0.01) and normal.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(normal) > 1.96).mean() == pytest.approx(0.05, abs=0.003)
    assert (Chance(1).uniform(8) == uniform[:8]).all() and not (Chance().uniform(8) == Chance().uniform(8)).any()


def test_each_visitor_is_drawn_by_themselves() -> None:
    chance = Chance(5)
    sizes = [len(drawn(100, 0.1, chance)) for _ in range(2_000)]
    assert np.mean(sizes) == pytest.approx(10, abs=0.3) and np.var(sizes) == pytest.approx(9, rel=0.15)  # binomial


# --- What one visitor adds ---


def gradient(data: Sequence[Visitor], clip: float = 1.0, expected: float = 8.0) -> torch.Tensor:
    """The averaged gradient of one step on all of `data`, without noise."""
    model, budget = line(), Budget(replace(PROMISE, clip=clip, seed=1))
    taker = PrivateSteps(budget, 0.0, 1.0, expected).taker(model, losses, torch.optim.SGD(model.parameters(), lr=0.0))
    taker([parted(data)(list(range(len(data))))])
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


def test_an_extreme_visitor_moves_the_gradient_at_most_by_the_bound() -> None:
    data = visitors(8)
    extreme = (torch.full((3, 1), 50.0), torch.full((3,), -1e4))
    for clip in (0.1, 1.0):
        moved = float((gradient([*data, extreme], clip) - gradient(data, clip)).norm())
        assert moved == pytest.approx(clip / 8, rel=1e-4)  # the whole of the bound, and no more
    assert float((gradient([*data, extreme], 1e9) - gradient(data, 1e9)).norm()) > 100  # what the bound kept away


def test_unclipped_gradients_by_visitor_add_up_to_the_plain_gradient() -> None:
    data, model = visitors(8), line()
    losses(model, parted(data)(list(range(8)))).mean().backward()
    plain = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    assert torch.allclose(gradient(data, clip=1e9), plain, atol=1e-6)


def test_parts_of_a_batch_give_the_same_weights_as_the_batch() -> None:
    data, seeded = visitors(64), replace(PROMISE, seed=4)
    whole, parts = trained(data, seeded, 0.5, at_once=64)[0], trained(data, seeded, 0.5, at_once=5)[0]
    assert whole == pytest.approx(parts, abs=1e-5)


def test_a_step_for_which_nobody_was_drawn_is_noise_alone() -> None:
    # Else weights that stand still would tell that nobody took part.
    budget, model = Budget(replace(PROMISE, seed=3)), torch.nn.Sequential(torch.nn.Linear(100, 100))
    taker = PrivateSteps(budget, 4.0, 0.1, 20.0).taker(model, losses, torch.optim.SGD(model.parameters(), lr=1.0))
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    taker([])
    moved = torch.nn.utils.parameters_to_vector(model.parameters()).detach() - before
    assert float(moved.std()) == pytest.approx(4.0 / 20, rel=0.03) and budget.history == [(4.0, 0.1, 1)]


def test_steps_for_which_nobody_was_drawn_happen_in_training() -> None:
    weights, budget = trained(visitors(3), replace(PROMISE, seed=2), 1.0, expected=0.05, epochs=1)
    assert budget.history == [(1.0, 0.05 / 3, 60)]  # most of the 60 steps drew nobody
    assert all(math.isfinite(value) for value in weights) and weights != weights_of(line())


def test_it_learns_where_noise_is_small() -> None:
    data = visitors(256)
    weights, _ = trained(data, PROMISE, 0.3, expected=64, epochs=40)
    model = line()
    torch.nn.utils.vector_to_parameters(torch.tensor(weights), model.parameters())
    everyone = parted(data)(list(range(256)))
    with torch.no_grad():
        assert float(losses(model, everyone).mean()) < 0.3 * float(losses(line(), everyone).mean())


# --- The accountant ---


def test_what_is_told_is_what_opacus_says_of_the_steps_really_taken() -> None:
    from opacus.accountants import RDPAccountant

    _, budget = trained(visitors(64), PROMISE, 1.5, expected=16, epochs=3)
    theirs = RDPAccountant()
    for _ in range(12):
        theirs.step(noise_multiplier=1.5, sample_rate=0.25)
    assert budget.history == theirs.history == [(1.5, 0.25, 12)]
    assert budget.epsilon == pytest.approx(theirs.get_epsilon(1e-4), rel=0.01)


def test_noise_is_found_as_opacus_finds_it_and_never_spends_more() -> None:
    from opacus.accountants.utils import get_noise_multiplier

    theirs = get_noise_multiplier(target_epsilon=3, target_delta=1e-5, sample_rate=0.1, steps=200, accountant="rdp")
    ours = noise_for(3, 1e-5, sample_rate=0.1, steps=200)
    assert ours == pytest.approx(theirs, rel=0.02)
    for epsilon in (0.1, 1.0, 20.0):
        beside = [(noise_for(0.4 * epsilon, 1e-5), 1.0, 1)]
        noise = noise_for(epsilon, 1e-5, sample_rate=0.1, steps=200, beside=beside)
        assert 0.97 * epsilon < spent([*beside, (noise, 0.1, 200)], 1e-5) <= epsilon


def test_a_gaussian_sum_costs_what_the_theory_says() -> None:
    # Mironov 2017: epsilon <= alpha / (2 sigma^2) + log(1 / delta) / (alpha - 1), least at the best alpha.
    theory = min(a / (2 * 16) + math.log(1e5) / (a - 1) for a in np.arange(1.01, 100, 0.01))
    assert 0.8 * theory < spent([(4.0, 1.0, 1)], 1e-5) <= theory


def test_a_noisy_sum_is_bounded_and_written_down() -> None:
    budget = Budget(replace(PROMISE, seed=1))
    rows = np.array([[30.0, 40.0], [0.3, 0.4]])
    quiet = budget.noisy_sum(rows, 5.0, 1e-12)
    assert quiet == pytest.approx([3.3, 4.4]) and budget.history == [(1e-12, 1.0, 1)]
    loud = Budget(replace(PROMISE, seed=1)).noisy_sum(np.zeros((1, 50_000)), 5.0, 2.0)
    assert float(loud.std()) == pytest.approx(10, rel=0.02)


def test_more_than_was_promised_is_never_sealed() -> None:
    budget = Budget(PROMISE, [(0.5, 1.0, 1)])
    with pytest.raises(Problem, match="was spent of 3"):
        sealed(budget, 100, {}, {})
    kept = sealed(Budget(PROMISE, [(4.0, 1.0, 1)]), 100, {"gradients": 4.0}, {})
    assert spent([(4.0, 1.0, 1)], 1e-4) <= kept["epsilon"] <= 3 and kept["randomness"] == "operating system"
    assert sealed(Budget(replace(PROMISE, seed=1)), 100, {}, {})["randomness"] == "a known seed: nothing is promised"


# --- The promise ---


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 20.1, math.nan, math.inf])
def test_an_epsilon_that_promises_nothing_is_refused(epsilon: float) -> None:
    with pytest.raises(Usage, match="3 is usual"):
        check_epsilon(epsilon)


@pytest.mark.parametrize("delta", [0.0, -1e-6, 0.01, 0.5, 2.0, math.nan])
def test_a_delta_that_gives_a_visitor_away_is_refused_with_a_sensible_one(delta: float) -> None:
    with pytest.raises(Usage, match=r"--delta 0\.001"):
        promise(3, delta, 100)


def test_the_usual_delta_is_well_below_one_visitor() -> None:
    for visitors in (1, 9, 10, 100, 1996, 99_999):
        assert 1 / (100 * visitors) <= usual_delta(visitors) <= 1 / (10 * visitors)
    assert promise(3, None, 1996) == Privacy(3, 1e-5)
    assert promise(3, 1e-6, 1996).delta == 1e-6


# --- The one loop ---


def test_plain_training_is_what_it_was_byte_for_byte() -> None:
    """The loop against itself written out: the same steps without the private way."""
    data = [(torch.randn(8, 1), torch.randn(8)) for _ in range(5)]
    settings = Settings(epochs=2, rate=0.05, device="cpu")

    def loss(model: Any, batch: Visitor) -> torch.Tensor:
        return ((model(batch[0])[..., 0] - batch[1]) ** 2).mean()

    mine, theirs = line(), line()
    fit(mine, lambda epoch: data, loss, settings)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=0.05, weight_decay=0.01)
    for step in range(10):
        factor = 1.0 if step < 1 else 0.5 * (1 + math.cos(math.pi * (step - 1) / 9))
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * factor
        optimiser.zero_grad()
        loss(theirs, data[step % 5]).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimiser.step()
    assert weights_of(mine) == weights_of(theirs)


def test_private_training_tells_nothing_on_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    how = PrivateSteps(Budget(PROMISE), 1.0, 0.5, 1.0)
    for more in ({"validate": lambda model: 1.0}, {"on_step": lambda step, loss: None}):
        with pytest.raises(ValueError, match="tells nothing"):
            fit(line(), lambda epoch: [[]], losses, Settings(device="cpu"), private=how, **more)
    model = line()
    history = fit_privately(model, [3] * 8, parted(visitors(8)), losses, Settings(epochs=3, device="cpu"),
                            Budget(PROMISE), noise=1.0, expected=4)  # fmt: skip
    assert (history.losses, history.validation, history.steps, history.best_epoch) == ([], [], 6, 2)
    assert "loss" not in capsys.readouterr().err
    assert not any(hasattr(part, "_forward_hooks") and part._forward_hooks for part in model.modules())


def test_batch_norm_is_refused_since_it_mixes_visitors() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.BatchNorm1d(4))
    with pytest.raises(Problem, match="whole batches"):
        PrivateSteps(Budget(PROMISE), 1.0, 0.5, 1.0).taker(model, losses, torch.optim.SGD(model.parameters()))


def test_an_encoder_can_learn_privately_too(tiny_base: Path) -> None:
    """Transformer's layers by the same engine: each visitor's text against texts that are nobody's, which are fixed."""
    from models.encoder import load_base
    from models.training.encoder import freeze

    model = load_base(str(tiny_base))
    freeze(model, 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tokens = torch.randint(1000, 2000, (12, 6), generator=torch.Generator().manual_seed(1))
    fixed = torch.nn.functional.normalize(torch.randn(5, 32, generator=torch.Generator().manual_seed(2)), dim=1)

    def contrast(net: Any, part: torch.Tensor) -> torch.Tensor:
        vectors = torch.nn.functional.normalize(net(input_ids=part).last_hidden_state.mean(1), dim=1)
        return torch.nn.functional.cross_entropy(
            vectors @ fixed.T / 0.05, torch.zeros(len(part), dtype=torch.long), reduction="none"
        )

    budget = Budget(PROMISE)
    fit_privately(model, [6] * 12, lambda some: tokens[some], contrast, Settings(epochs=2, device="cpu"), budget,
                  noise=1.0, expected=6)  # fmt: skip
    after = model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all("layer.1." in name for name in changed) and budget.history == [(1.0, 0.5, 4)]
