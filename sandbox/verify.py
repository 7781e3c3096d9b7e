"""`replay verify`: is a transcript what happened? Checks its chain, plays it again, and may ask its models again."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from agents.engines import opened
from agents.errors import BadInput
from agents.language_model import Completion, LanguageModel, ModelError, Prompt
from agents.models import encoder_folder
from agents.observers import BatchObserver, as_logged
from agents.recorded import Recorded
from memory.encoder import Encoder
from sandbox.cast import judge_of, parse_models
from sandbox.config import ReplayVerifyOptions
from sandbox.console import say, table_console
from sandbox.play import where
from sandbox.progress import counting
from sandbox.replay import Difference, Differs, play_again, require_replayable
from sandbox.settings import options_of, settings_of
from sandbox.transcript import Transcript, read_worlds, verify_chain

# Of differences that say nothing against the transcript.
HINTS = {
    "encoder": "; --encoder names another",
    "prompts": "; if another version of social-sandbox played it, verify with that one",
}


def main(options: ReplayVerifyOptions) -> int:
    """Verify each world of a run; returns the exit code. Raises BadInput where it can't be done."""
    worlds = read_worlds(options.run)
    for world in worlds:
        require_replayable(world)
    told = settings_of(options.run).get("worlds", len(worlds)) if options.run.is_dir() else len(worlds)
    if told != len(worlds):
        return _failed(f"{options.run} was a run of {told} worlds, and holds {len(worlds)}")
    encoder = Encoder(encoder_folder(options.encoder))
    reward_models = [_reward_model(name) for name in options.reward_model]
    for world in worlds:
        try:
            lines = verify_chain(world.path)
        except BadInput as error:
            return _failed(str(error))
        try:
            with counting("interactions verified", lines) as count:
                interactions = asyncio.run(verified(world, encoder, reward_models, options, count))
        except Differs as error:
            return _failed(f"{world.path} {error}{HINTS.get(error.difference.field, '')}")
        print(f"verified {interactions} interactions" + (f" of {world.name}" if len(worlds) > 1 else ""))
    return 0


async def verified(
    run: Transcript,
    encoder: Encoder,
    reward_models: Sequence[BatchObserver],
    options: ReplayVerifyOptions,
    on_interactions: Callable[[int], None],
) -> int:
    """Play `run` again, where the options say so before its real models; returns how many interactions there are."""
    if not options.model:
        return await play_again(run, encoder, on_interactions, reward_models=reward_models)
    settings = options_of(run.path.parent)
    settings = settings.model_copy(update={"server": options.server or settings.server})
    names = [*(share.name for share in parse_models(settings.model)), judge_of(settings)]
    async with opened(where(settings, run.header["world"]["size"] ** 2), say) as engines:
        models = list((await engines.models(list(dict.fromkeys(names)))).values())
        require_same_models(run, models)
        counts: defaultdict[str, Count] = defaultdict(Count)
        interactions = await play_again(
            run, encoder, on_interactions, lambda recorded: _before(recorded, models, counts), reward_models
        )
    table_console().print(table(counts))
    return interactions


def _reward_model(name: str) -> BatchObserver:
    from agents.reward_model import RewardModelObserver  # imports torch

    return RewardModelObserver.load(name)


def require_same_models(run: Transcript, models: Sequence[LanguageModel]) -> None:
    """Raises Differs where one of the run's own models is not among `models`."""
    digests = {model.name: model.digest for model in models}
    told = [("models", place, model["name"], model["digest"]) for place, model in enumerate(run.header["models"])]
    told += [
        ("observers", place, observer["model"], observer["digest"])
        for place, observer in enumerate(run.header["observers"])
        if observer["kind"] == "llm"
    ]
    for field, place, name, digest in told:
        if digests.get(name) != digest:
            raise Differs(Difference(1, f"{field}[{place}].digest", digests.get(name, ...), digest))


@dataclass(slots=True)
class Count:
    """Replies of one purpose that were asked for again."""

    replies: int = 0
    identical: int = 0
    failed: int = 0
    furthest: float = 0.0  # the largest difference of two log-probabilities

    def add(self, recorded: Completion, again: Completion) -> None:
        """Count a reply. Texts are compared where there is one on record, log-probabilities where there are some."""
        again = as_logged(again)
        self.replies += 1
        same = recorded.text.strip() in ("", again.text.strip())
        pairs = list(zip(recorded.choice_logprobs or (), again.choice_logprobs or (), strict=False))
        self.furthest = max([self.furthest, *(abs(one - other) for one, other in pairs)])
        self.identical += same and recorded.choice_logprobs == again.choice_logprobs


class AskedAgain:
    """A recorded model, beside which the real one is asked the same. What it says is what was recorded, so that one
    difference does not lead to others."""

    def __init__(self, recorded: Recorded, model: LanguageModel, counts: defaultdict[str, Count]) -> None:
        self.name = recorded.name
        self.digest = recorded.digest
        self.batch_invariant = model.batch_invariant
        self.reads_words = model.reads_words
        self._recorded = recorded
        self._model = model
        self._counts = counts

    async def complete(self, prompt: Prompt) -> Completion:
        """The recorded reply; raises ModelError where there is none, and then asks nobody."""
        recorded = await self._recorded.complete(prompt)
        count = self._counts[prompt.key.purpose]
        try:
            again = await self._model.complete(prompt)
        except ModelError:
            count.failed += 1
        else:
            count.add(recorded, again)
        return recorded


def table(counts: Mapping[str, Count]) -> Table:
    """How many replies of each purpose were the same."""
    shown = Table(title="asked again")
    for column in ("", "replies", "identical", "failed now", "largest difference of log-probabilities"):
        shown.add_column(column, justify="right" if column else "left")
    for purpose, count in counts.items():
        numbers = (count.replies, count.identical, count.failed, f"{count.furthest:.6f}")
        shown.add_row(purpose, *map(str, numbers))
    replies, identical = (sum(getattr(count, name) for count in counts.values()) for name in ("replies", "identical"))
    shown.caption = f"{identical} of {replies} replies identical"
    return shown


def _before(recorded: Recorded, models: Sequence[LanguageModel], counts: defaultdict[str, Count]) -> LanguageModel:
    """The model that stands before a recorded one: of a parent's models, those that the run itself has too."""
    for model in models:
        if (model.name, model.digest) == (recorded.name, recorded.digest):
            return AskedAgain(recorded, model, counts)
    return recorded


def _failed(message: str) -> int:
    print(f"replay verify: {message}", file=sys.stderr)
    return 1
