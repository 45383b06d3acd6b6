"""Fine-tuning the encoder on each device of this machine: `python -m tests.bench.training SHOP` (needs its examples).

The same pairs, batches and seed, by the loop that `models train encoder` runs. The processor of the same machine is
the named peer. Every device trains twice, and says whether both came to the same weights, byte for byte.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from typing import Any

from jobs.console import grid
from models.encoder import load_base
from models.retrieval.indexing import catalogue
from models.training import loop
from models.training.encoder import EncoderTraining, Pair, chosen, fine_tune, read_pairs, training_tokenizer
from tests.bench.measure import machine

WARM_UP = 256


def fingerprint(model: Any) -> str:
    """A hash of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def trained(pairs: Sequence[Pair], base: str, settings: EncoderTraining) -> tuple[float, float, str]:
    """One training: seconds, the last batch's loss, the weights' hash."""
    loop.seed_everything(settings.seed)
    model, losses = load_base(base), list[float]()
    history = fine_tune(
        model, training_tokenizer(base, settings.max_length), pairs, settings, lambda step, loss: losses.append(loss)
    )
    return history.seconds, losses[-1], fingerprint(model)


def main(argv: list[str]) -> int:
    """Measure each device, and print a table."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shop")
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--pairs", type=int, default=2048)
    args = parser.parse_args(argv)
    print(f"{machine()}; python -m tests.bench.training {' '.join(argv)}", flush=True)
    pairs = chosen(read_pairs(args.shop, catalogue(args.shop), "train"), args.pairs, seed=1)
    lines: list[tuple[str, ...]] = []
    slowest = 0.0
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        settings = EncoderTraining(pairs=len(pairs), device=device)
        trained(pairs[:WARM_UP], args.base, settings)
        (first, loss, one), (second, _, other) = (trained(pairs, args.base, settings) for _ in range(2))
        speed = 2 * len(pairs) / (first + second)
        slowest = slowest or speed
        name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
        lines.append((device, name, f"{speed:,.1f}", f"{speed / slowest:.1f}", f"{loss:.4f}", str(one == other)))
    print(grid(("device", "which", "pairs/s", "of the processor's", "last loss", "same bytes twice"), lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
