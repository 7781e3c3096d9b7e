"""A reward model in this process: a sequence classifier with one output, and the observer that it makes.

`align reward-model` trains one; any folder or hub model with one label serves. The reward of a response is σ of the
output, in (0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from agents.chat import ChatTemplate
from agents.errors import BadInput
from agents.language_model import Message
from agents.local import OWN_FILES, folder_digest, loading, pretrained_tokenizer
from agents.models import model_folder, short_name
from agents.observers import REWARD_MODEL
from agents.rating import HIGHEST, LOWEST
from agents.records import Rating


@dataclass(frozen=True, slots=True)
class PairFormat:
    """How a query and a response become one line of tokens, the same in training and when rated.

    An encoder reads them as a pair of texts, a language model as a chat (`template`). System texts are left out: who
    rates sees what was asked, not what the speaker was told. Lines are cut at `max_length` tokens.
    """

    tokenizer: Any
    template: ChatTemplate | None
    max_length: int

    @classmethod
    def of(cls, tokenizer: Any, max_length: int) -> PairFormat:
        """The format of `tokenizer`; raises BadInput where it neither pairs texts nor has a chat template."""
        pairs = tokenizer.cls_token is not None and tokenizer.sep_token is not None
        return cls(tokenizer, None if pairs else ChatTemplate.of(tokenizer, tokenizer.name_or_path), max_length)

    def line(self, query: Sequence[Message], response: str) -> tuple[dict[str, list[int]], bool]:
        """The tokens as the model takes them, and whether some were cut (of a pair, from the longer text)."""
        turns = [turn for turn in query if turn.role != "system"]
        if self.template is None:
            texts = {"text": "\n".join(turn.content for turn in turns), "text_pair": response}
        else:
            texts = {"text": self.template.text((*turns, Message("assistant", response)))}
        own = self.template is None  # a template writes the special tokens itself
        whole = self.tokenizer(**texts, add_special_tokens=own, verbose=False)
        if len(whole["input_ids"]) <= self.max_length:
            return dict(whole), False
        return dict(self.tokenizer(**texts, add_special_tokens=own, truncation=True, max_length=self.max_length)), True


class RewardModel:
    """Rates responses from 0 to 1. Equal ones get bit-equal rewards in any company: each is read alone."""

    def __init__(self, name: str, digest: str, model: PreTrainedModel, format: PairFormat) -> None:
        self.name = name
        self.digest = digest
        self._model = model
        self._format = format

    @classmethod
    def load(cls, name: str) -> RewardModel:
        """The reward model of that name (a folder, or a hub name). Raises BadInput where it is none."""
        folder = model_folder(name)
        model, tokenizer = classifier(name, folder, "a reward model, as align reward-model writes it")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        longest = min(tokenizer.model_max_length, positions(model))
        format = PairFormat.of(tokenizer, int(longest))
        found = cls(short_name(name), folder_digest(folder), model.to(device).eval(), format)
        found.rewards([(Message("user", "Is it fair?"),)], ["It is."])  # a damaged one is told before a run begins
        return found

    def rewards(self, queries: Sequence[Sequence[Message]], responses: Sequence[str]) -> list[float]:
        """The reward of each response to its query, in (0, 1). Raises BadInput where the model gives no number."""
        with torch.inference_mode():
            return [self._reward(*pair) for pair in zip(queries, responses, strict=True)]

    def _reward(self, query: Sequence[Message], response: str) -> float:
        line, _ = self._format.line(query, response)
        batch = {name: torch.tensor([ids], device=self._model.device) for name, ids in line.items()}
        reward = float(self._model(**batch).logits.float().sigmoid())
        if math.isnan(reward):
            raise BadInput(f"model {self.name!r}: its reward is not a number (NaN in its weights?); give another")
        return reward


class RewardModelObserver:
    """An observer whose alignment is 1 + 6 r, r the reward of the answer. It says nothing of engagement."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model

    @classmethod
    def load(cls, name: str) -> RewardModelObserver:
        """The observer "reward-model:DIR", which may be called DIR too. Raises BadInput where there is none."""
        return cls(RewardModel.load(name.removeprefix(REWARD_MODEL)))

    @property
    def name(self) -> str:
        """The observer's name in transcripts and reports: that of the model's folder, without the path to it."""
        return REWARD_MODEL + self._model.name

    def rate_all(self, pairs: Sequence[tuple[str, str]]) -> list[Rating]:
        """The ratings of (question, answer) pairs."""
        queries = [(Message("user", question),) for question, _ in pairs]
        rewards = self._model.rewards(queries, [answer for _, answer in pairs])
        return [Rating(LOWEST + (HIGHEST - LOWEST) * reward, None) for reward in rewards]

    def describe(self) -> dict[str, Any]:
        """The observer in a transcript's header: all that shapes its ratings."""
        return {"name": self.name, "kind": "reward-model", "model": self._model.name, "digest": self._model.digest}


def classifier(
    name: str, folder: Path, wanted: str, *, new_head: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The sequence classifier with one output in `folder`, in float32, and its tokenizer; else BadInput: give `wanted`.

    With `new_head` any backbone will do, whose head starts from random numbers.
    """
    tokenizer = pretrained_tokenizer(name, folder)
    labels = {"num_labels": 1} if new_head else {}
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it would tell of the new head, or of an old one that is not needed
    try:
        with loading(name, folder, wanted):
            model, found = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **labels, **OWN_FILES
            )
    finally:
        logging.set_verbosity(level)
    if not new_head and (found["missing_keys"] or model.config.num_labels != 1):
        reason = "no trained head" if found["missing_keys"] else f"{model.config.num_labels} outputs"
        raise BadInput(f"model {name!r}: {folder} has {reason}; give {wanted}")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id  # by which a language model finds the last token
    return model, tokenizer


def positions(model: PreTrainedModel) -> float:
    """How many tokens the model can read."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or float("inf")
