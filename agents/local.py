"""A language model in this process, by transformers: chats in, texts out, on a CPU or a GPU."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from agents.batching import Batcher
from agents.chat import ChatTemplate
from agents.decoding import Continuation, Row, continue_rows, shares_prefixes
from agents.errors import BadInput
from agents.language_model import Completion, ModelError, Prompt
from agents.prefixes import common_length
from agents.sampling import NotFinite

# What decides a model's words. Other files of its folder (a card, a trainer's state) may change.
WORDING_FILES = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "chat_template*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
)

OWN_FILES = {"local_files_only": True, "trust_remote_code": False}  # of a model's folder: no hub, no code


@dataclass(frozen=True, slots=True)
class Call:
    """A prompt made ready: `row` to continue, of which the last `forced` ids belong to the reply."""

    prompt: Prompt
    row: Row
    forced: int
    order: tuple[Any, ...]

    @property
    def max_tokens(self) -> int:
        """How long the reply may get."""
        return self.row.max_tokens

    @property
    def tokens(self) -> int:
        """Prompt and longest reply."""
        return len(self.row.ids) + self.row.max_tokens


class LocalModel:
    """A LanguageModel over a transformers model. Calls are answered in batches of `batcher`.

    Equal prompts in equal batches get equal answers, whatever order they came in. In another batch the text was
    the same wherever we looked, log-probabilities only to 1e-5; so it is not called batch-invariant.
    """

    batch_invariant = False
    reads_words = True

    def __init__(
        self, name: str, digest: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batcher: Batcher
    ) -> None:
        self.name = name
        self.digest = digest
        self._model = model
        self._tokenizer = tokenizer
        self._template = ChatTemplate.of(tokenizer, name)
        self._batcher = batcher
        self._window: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._ends = end_tokens(model, tokenizer)
        self._share = shares_prefixes(model)
        self._forced = lru_cache(self._forced_ids)

    @classmethod
    def load(cls, name: str, folder: Path, *, device: str | None = None, batcher: Batcher) -> LocalModel:
        """Load from `folder` (safetensors, no code of the model's own): float32 on a CPU, bfloat16 on a GPU.

        Raises BadInput where the folder is not a whole chat model.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
        model, tokenizer = pretrained(name, folder, dtype)
        return cls(name, folder_digest(folder), model.to(device).eval(), tokenizer, batcher)

    async def complete(self, prompt: Prompt) -> Completion:
        """Answer `prompt`. Token counts: the chat with the forced start; what was generated, end of turn included."""
        call = self._call(prompt)
        continuation: Continuation | None = await self._batcher.submit(self, call)
        if continuation is None:
            raise ModelError("failed", f"{self.name} gave no finite probabilities (NaN or infinite logits)")
        return self._completion(call, continuation)

    def generate(self, jobs: Sequence[Call], abandoned: Callable[[], bool]) -> Sequence[Continuation | None]:
        """The continuations of a batch, for the batcher; None where the model gave no finite probabilities."""
        rows = [call.row for call in jobs]
        try:
            found = continue_rows(self._model, rows, self._ends, abandoned, share=self._share)
        except NotFinite:
            if len(jobs) == 1:
                return [None]
            # Each alone, so that the others go on: read together, one prompt's NaN reaches all, for 0 · NaN is NaN.
            return [row for job in jobs for row in self.generate([job], abandoned)]
        return [row if all(map(math.isfinite, row.choice_logprobs)) else None for row in found]

    def _call(self, prompt: Prompt) -> Call:
        try:
            chat = self._template.ids(prompt.messages)
        except jinja2.TemplateError as error:
            raise ModelError("invalid", f"the chat template of {self.name} refused the messages: {error}") from error
        forced, choice_ids, first_ids = self._forced(prompt.start, prompt.choices)
        ids = (*chat, *forced)
        if self._window is not None and len(ids) + prompt.max_tokens > self._window:
            raise ModelError(
                "invalid",
                f"{len(ids)} prompt tokens and {prompt.max_tokens} new ones exceed the {self._window} of {self.name}",
            )
        row = Row(ids, prompt.max_tokens, prompt.temperature, prompt.top_p, prompt.seed, choice_ids, first_ids)
        key = prompt.key
        order = (key.round, key.agent, key.purpose, isinstance(key.other, str), key.other, prompt.digest())
        return Call(prompt, row, len(forced), order)

    def _forced_ids(
        self, start: str, choices: tuple[str, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The ids that a reply is forced to start with, the ids of `choices`, and which ids may come next.

        A tokenizer may draw the end of `start` into the token of a choice ("Rating: " and "5" into "Rating", ":",
        " 5"). Then the forced ids end before that token, and only tokens that go on with the rest of `start` may
        come next.
        """
        encode = self._tokenizer.encode
        whole = tuple(encode(start, add_special_tokens=False)) if start else ()
        with_choice = [tuple(encode(start + choice, add_special_tokens=False)) for choice in choices]
        size = min((common_length(whole, ids) for ids in with_choice), default=len(whole))
        choice_ids = tuple(ids[size] for ids in with_choice)
        for number, choice in enumerate(choices):
            first = choice_ids.index(choice_ids[number])
            if first != number:
                raise BadInput(
                    f"choices {choices[first]!r} and {choice!r} begin with the same token of {self.name}; choose others"
                )
        rest = "".join(self._tokenizer.convert_ids_to_tokens(list(whole[size:])))
        first_ids = self._beginning_with(rest) if rest else ()
        return whole[:size], choice_ids, first_ids

    def _beginning_with(self, rest: str) -> tuple[int, ...]:
        vocabulary = self._tokenizer.get_vocab()
        return tuple(sorted(number for token, number in vocabulary.items() if token.startswith(rest)))

    def _completion(self, call: Call, continuation: Continuation) -> Completion:
        ids = call.row.ids
        reply = [*ids[len(ids) - call.forced :], *continuation.ids]
        return Completion(
            text=self._tokenizer.decode(reply, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            finish="stop" if continuation.ended else "length",
            prompt_tokens=len(ids),
            completion_tokens=len(continuation.ids),
            choice_logprobs=continuation.choice_logprobs if call.prompt.choices else None,
        )


def pretrained(name: str, folder: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The causal language model in `folder` and its tokenizer. Raises BadInput where it isn't one, or not whole."""
    tokenizer = pretrained_tokenizer(name, folder)
    with loading(name, folder, "a causal language model"):
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **OWN_FILES
        )
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise BadInput(f"model {name!r}: {len(missing)} weights are missing ({missing[0]}, …); save it again, whole")
    return model, tokenizer


def pretrained_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the model in `folder`. Raises BadInput where it doesn't load."""
    with loading(name, folder, "one with a tokenizer"):
        return AutoTokenizer.from_pretrained(folder, **OWN_FILES)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a reply: the tokenizer's and those of the model's generation config."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    several = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [tokenizer.eos_token_id, *several] if token is not None)


def folder_digest(folder: Path) -> str:
    """blake2b (128 bits, hexadecimal) over the weights, configuration and tokenizer files in `folder`."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted({path for pattern in WORDING_FILES for path in folder.glob(pattern) if path.is_file()}):
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        digest.update(path.name.encode() + b"\0" + inner.digest())
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars that transformers draws while it loads or saves."""
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """While a model is written to `folder`: quiet, and BadInput where it can't be, the disk being full."""
    try:
        with quiet():
            yield
    except Exception as error:
        if not (isinstance(error, OSError) or is_without_room(error)):
            raise
        raise unwritten(folder, error, "make room") from error


def is_without_room(error: Exception) -> bool:
    """Whether what writes models found the disk full, and raised no OSError, but an error of its own."""
    by_torch = isinstance(error, RuntimeError) and "inline_container" in str(error)
    by_rust = isinstance(error, SafetensorError) or type(error) is Exception  # the latter by tokenizers
    return by_torch or (by_rust and "os error" in str(error))


def unwritten(folder: Path, error: Exception, advice: str) -> BadInput:
    """What to tell where `folder` could not be written."""
    return BadInput(f"cannot write {folder} ({' '.join(str(error).split())[:200]}); {advice}")


@contextmanager
def loading(name: str, folder: Path, wanted: str) -> Iterator[None]:
    """While a model is read from `folder`: quiet, and BadInput where it can't be; `wanted` says what to give."""
    try:
        with quiet():
            yield
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"model {name!r}: {folder} does not load ({reason}); give {wanted}") from error
