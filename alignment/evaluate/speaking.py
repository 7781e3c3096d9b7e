"""Models and judges are opened, on servers or here, and questions put to them."""

from __future__ import annotations

import asyncio

from agents.engines import Where, opened
from alignment.answers import Manner
from alignment.config import AlignEvaluateOptions
from alignment.evaluate.material import Material
from alignment.evaluate.pair import Pair
from alignment.evaluate.rounds import Kind, Panel, Round
from alignment.judge import observer_of, rating_by
from sandbox.console import say


async def rounds_of(
    parts: set[str], material: Material, pair: Pair, judge: str, options: AlignEvaluateOptions
) -> dict[Kind, Round]:
    """What both models say to what `parts` ask for, rated and compared. Raises BadInput.

    `judge` is the model of an llm judge, and of the duels.
    """
    where = Where(tuple(options.server), options.engine, options.vllm_command, calls_at_once=2 * options.answers)
    speaks = options.judge.startswith("llm")
    needed = [judge] if speaks or pair.against is not None else []
    async with opened(where, say) as engines:
        models = await engines.models(list(dict.fromkeys([*pair.names, *needed])))
        observer = await observer_of(options.judge, models.get(judge), options.encoder)
        panel = Panel(
            tuple(models[name] for name in pair.names),
            Manner(options.max_tokens, options.temperature, options.seed),
            rating_by(observer),
            models[judge] if pair.against is not None else None,
        )
        say(f"answering, and judging by {judge if speaks else options.judge}")
        talks = []
        if parts & {"answers", "second-turn"}:
            talks.append(panel.first_and_second(material.asked, second="second-turn" in parts))
        if "adversarial" in parts and material.attacked:
            talks.append(panel.adversarial(material.attacked))
        held = await asyncio.gather(*talks)
    return {kind: each for rounds in held for kind, each in rounds.items()}
