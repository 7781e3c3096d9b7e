"""What is watched while a model trains: how far it went from its start, and what that did to its answers.

Measured on a few held-out groups, at the start, at the end and some times between, and logged beside the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agents.language_model import Message
from alignment.answers import fresh_answers
from alignment.judge import Judge
from alignment.likelihood import NEUTRAL_TEXT, likelihoods, neutral_perplexity, quality
from alignment.tokens import ChatFormat, Row

WATCHED = 8  # groups whose likelihoods are read at every point: a second each for the embedded model on a CPU
COMPARED = 16  # tokens of each best answer that the divergence is taken over: their distributions are kept in memory
LOGGED = "watch/"  # before the names of a point's numbers, in the trainer's log


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of the training. None where there is nothing to measure it on.

    `kl`: KL(now‖start) of the next token's distribution, nats, mean over the first tokens of the best watched answers
    (of the neutral text where no group is held out). `margin`: best − worst mean token log-probability. `reward`: the
    judge's mean rating of fresh greedy answers, of which `unrated` have none, `answer_tokens` their mean length.
    """

    step: int
    pair_accuracy: float | None
    margin: float | None
    best_per_token: float | None
    worst_per_token: float | None
    kl: float
    neutral_perplexity: float
    reward: float | None
    answer_tokens: float | None
    unrated: int


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched: held-out `rows`, and `prompts` that are answered at every point, up to `tokens` long.

    `judge` rates the answers; it is held by the first process only. `collate` is how `rows` are read.
    """

    rows: Sequence[Row]
    collate: Callable[[Sequence[Row]], dict[str, Tensor]]
    format: ChatFormat
    prompts: Sequence[Sequence[Message]]
    tokens: int
    judge: Judge | None


class Watch(TrainerCallback):  # type: ignore[misc]
    """Measures at the start, the end and `between` times in between of the training that `trainer` is about to begin.

    The numbers that `measure` gives by name at a step, without those that are None, go to the trainer's log, which
    checkpoints keep. It leaves the training as it is, its random numbers included.
    """

    def __init__(self, trainer: Trainer, measure: Callable[[int], Mapping[str, float | None]], between: int) -> None:
        self._trainer, self._measure, self._between = trainer, measure, between

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the start, unless a checkpoint has it."""
        if not any(map(is_point, state.log_history)):
            self._note(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure where it is time."""
        if state.global_step in steps_watched(state.max_steps, self._between):
            due = control.should_log  # which logging would take for done
            self._note(state)
            control.should_log = due

    def _note(self, state: TrainerState) -> None:
        found = self._measure(state.global_step)
        numbers = {LOGGED + name: value for name, value in found.items() if value is not None}
        Trainer.log(self._trainer, numbers)  # a subclass's own would mix what it gathered for its next line into it


class StabilityWatch(Watch):
    """Measures a language model's `Point`s. The model it is made with is the start that divergences are taken from."""

    def __init__(self, trainer: Trainer, watched: Watched, between: int) -> None:
        super().__init__(trainer, self._numbers, between)
        self._watched = watched
        self._start = self._distributions()

    def _numbers(self, step: int) -> dict[str, float | None]:
        return {name: value for name, value in asdict(self._measured(step)).items() if name != "step"}

    def _measured(self, step: int) -> Point:
        watched, model = self._watched, self._trainer.model
        found = likelihoods(model, watched.rows, watched.collate)
        held = quality(watched.rows, found, neutral_perplexity(model, watched.format))
        best, worst = held.best_per_token, held.worst_per_token
        answered = self._answered()
        ratings = self._ratings(answered)
        return Point(
            step=step,
            pair_accuracy=None if held.pair_accuracy is None else held.pair_accuracy.value,
            margin=None if best is None or worst is None else best - worst,
            best_per_token=best,
            worst_per_token=worst,
            kl=divergence(self._distributions(), self._start),
            neutral_perplexity=held.neutral_perplexity,
            reward=fmean(ratings) if ratings else None,
            answer_tokens=fmean(tokens for *_, tokens in answered) if answered else None,
            unrated=len(watched.prompts) - len(ratings) if watched.judge is not None else 0,
        )

    def _answered(self) -> list[tuple[str, str, int]]:
        """The questions that the model answers now, with its answers and their tokens."""
        watched = self._watched
        if not watched.prompts:
            return []
        given = fresh_answers(self._trainer.model, watched.format.tokenizer, watched.prompts, watched.tokens)
        questions = [prompt[-1].content for prompt in watched.prompts]
        return [
            (question, answer.text, answer.tokens)
            for question, answer in zip(questions, given, strict=True)
            if answer.text is not None and answer.tokens is not None
        ]

    def _ratings(self, answered: Sequence[tuple[str, str, int]]) -> list[float]:
        if self._watched.judge is None or not answered:
            return []
        rated = self._watched.judge.rate([each[0] for each in answered], [each[1] for each in answered])
        return [rating for rating in rated if rating is not None]

    def _distributions(self) -> Tensor:
        rows = [_shortened(row) for row in self._watched.rows]
        return next_tokens(self._trainer.model, rows or [self._watched.format.text_row(text) for text in NEUTRAL_TEXT])


def steps_watched(steps: int, between: int) -> set[int]:
    """The steps after which a training of `steps` is measured: the last one, and `between` at equal distances."""
    return {steps, *(round(steps * part / (between + 1)) for part in range(1, between + 1))} - {0}


def next_tokens(model: Any, rows: Sequence[Row]) -> Tensor:
    """Log-probabilities [positions, vocabulary] that the model gives at every token of the rows' first replies.

    On the CPU in float32; without dropout.
    """
    found = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for row in rows:
            reply = row.replies[0]
            ids = torch.tensor([row.prompt + reply], device=model.device)
            logits = model(input_ids=ids, logits_to_keep=len(reply) + 1, use_cache=False).logits[0, :-1]
            found.append(logits.float().log_softmax(-1).cpu())
    model.train(was_training)
    return torch.cat(found)


def divergence(now: Tensor, start: Tensor) -> float:
    """KL(now‖start) in nats, mean over positions, of log-probabilities [positions, vocabulary]."""
    return float((now.exp() * (now - start)).sum(-1).mean())


def points(log: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The points in a trainer's log, in its order."""
    return [_point(line) for line in log if is_point(line)]


def is_point(line: Mapping[str, Any]) -> bool:
    """Whether a line of a trainer's log is a point, and not the trainer's own."""
    return any(name.startswith(LOGGED) for name in line)


def _point(line: Mapping[str, Any]) -> Point:
    numbers: dict[str, Any] = {name: line.get(LOGGED + name) for name in Point.__slots__ if name != "step"}
    return Point(step=line["step"], **numbers)


def _shortened(row: Row) -> Row:
    """The row with the beginning of its best reply alone."""
    best = row.scores.index(max(row.scores))
    return Row(row.prompt, (row.replies[best][:COMPARED],), (row.scores[best],), (False,), row.question)
