"""How often a model prefers the good answer to the bad one in duels, on the pairs that `align evaluate` ships.

python benchmarks/duels.py [MODEL]
"""

from __future__ import annotations

import asyncio
import sys

from agents.batching import Batcher
from agents.models import EMBEDDED_MODEL, load_model
from alignment.evaluate.duels import Bout, fought, win_rate
from alignment.evaluate.material import shipped_groups


def main(name: str) -> None:
    pairs = [(group, sorted(zip(group.scores, group.responses, strict=True))) for group in shipped_groups()]
    bouts = [Bout(group.question, group.topic, good, bad) for group, ((_, bad), (_, good)) in pairs]
    duels = asyncio.run(fought(load_model(name, Batcher()), bouts, "duel"))
    rate = win_rate(duels)
    preferred = sum(duel.win is not None and duel.win > 0.5 for duel in duels)
    print(f"{name}: {preferred} of {rate.duels} good answers preferred; win rate {rate.value}")
    print(f"both orders agree: {rate.wins} right, {rate.losses} wrong; first shown wins {rate.first_wins}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or [EMBEDDED_MODEL]))
