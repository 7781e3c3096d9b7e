"""The fast way (token tree, one batch, cache) against the plain one: row by row, everything computed anew each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from agents.decoding import CHUNK, Continuation, Row, continue_rows, shares_prefixes
from agents.sampling import sample, uniform

VOCABULARY = 64
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}
GPT2_SIZES = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}

SHARING = {
    "llama": LlamaConfig(**SIZES, **HEADS),
    "qwen2": Qwen2Config(**SIZES, **HEADS),
    "gpt2": GPT2Config(**GPT2_SIZES, initializer_range=0.2),
}
PLAIN = {
    "sliding window": MistralConfig(**SIZES, **HEADS, sliding_window=8),
    "recurrence": MambaConfig(**SIZES, state_size=4),
    "hybrid": Lfm2Config(**SIZES, **HEADS, layer_types=["conv", "full_attention"]),
    "alibi": BloomConfig(**SIZES, n_head=4),
}

# A common beginning, groups below it, a prompt that is the beginning of another, twins, and a loner.
PROMPTS = [
    (1, 2, 3, 4, 5, 6, 7),
    (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    (1, 2, 3, 4, 5, 11, 12, 13),
    (1, 2, 3, 4, 5, 11, 12, 13),
    (1, 2, 3, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23),
    (1, 2, 30),
    (40, 41, 42, 43),
]
ROWS = [
    Row(ids, max_tokens=12, temperature=(0.0, 0.7, 1.3)[n % 3], top_p=(1.0, 0.9)[n % 2], seed=n, choice_ids=(5, 50, n))
    for n, ids in enumerate(PROMPTS)
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small lose more to threads that wait for each other than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(config: PretrainedConfig) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


@torch.inference_mode()
def plainly(model: PreTrainedModel, row: Row, ends: frozenset[int]) -> Continuation:
    found = Continuation()
    for step in range(row.max_tokens):
        logits = model(torch.tensor([[*row.ids, *found.ids]])).logits[:, -1]
        if step == 0:
            found.choice_logprobs = tuple(logits.log_softmax(-1)[0, list(row.choice_ids)].tolist())
        settings = torch.tensor([[row.temperature], [row.top_p], [uniform(row.seed, step)]], dtype=torch.float64)
        token = int(sample(logits, *settings))
        found.ids.append(token)
        if token in ends:
            found.ended = True
            break
    return found


def never() -> bool:
    return False


def assert_same(found: list[Continuation], expected: list[Continuation]) -> None:
    assert [(row.ids, row.ended) for row in found] == [(row.ids, row.ended) for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row.choice_logprobs == pytest.approx(other.choice_logprobs, abs=1e-4)


@pytest.mark.parametrize(("kind", "chunk"), [*product(SHARING, (1, 7, 512)), *((kind, 0) for kind in PLAIN)])
def test_a_batch_says_what_its_rows_say_alone(kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHUNK, "cpu", chunk)
    model = made({**SHARING, **PLAIN}[kind])
    unended = [plainly(model, row, frozenset()) for row in ROWS]
    assert_same(continue_rows(model, ROWS, frozenset(), never, share=shares_prefixes(model)), unended)

    ends = frozenset({unended[0].ids[3], unended[2].ids[1], unended[4].ids[6]})  # some rows end early
    expected = [plainly(model, row, ends) for row in ROWS]
    assert sum(row.ended for row in expected) >= 3
    assert_same(continue_rows(model, ROWS, ends, never, share=shares_prefixes(model)), expected)


@pytest.mark.parametrize(("kind", "shares"), [*((kind, True) for kind in SHARING), *((kind, False) for kind in PLAIN)])
def test_which_models_share_prefixes(kind: str, shares: bool) -> None:
    assert shares_prefixes(made({**SHARING, **PLAIN}[kind])) is shares


@pytest.mark.parametrize("kind", SHARING)
def test_sharing_and_padding_agree(kind: str) -> None:
    model = made(SHARING[kind])
    shared, padded = (continue_rows(model, ROWS, frozenset(), never, share=share) for share in (True, False))
    assert_same(shared, padded)


def test_the_order_of_rows_does_not_matter() -> None:
    model = made(SHARING["llama"])
    forwards = continue_rows(model, ROWS, frozenset(), never, share=True)
    backwards = continue_rows(model, ROWS[::-1], frozenset(), never, share=True)
    assert_same(backwards[::-1], forwards)


def test_twins_with_different_seeds_differ_and_with_equal_ones_do_not() -> None:
    model = made(SHARING["llama"])
    rows = [Row((1, 2, 3), 12, 1.0, 1.0, seed) for seed in (1, 2, 1)]
    first, second, third = continue_rows(model, rows, frozenset(), never, share=True)
    assert first.ids == third.ids != second.ids


def test_rows_may_be_of_different_lengths() -> None:
    model = made(SHARING["llama"])
    rows = [replace(row, max_tokens=n + 1) for n, row in enumerate(ROWS)]
    expected = [plainly(model, row, frozenset()) for row in rows]
    assert_same(continue_rows(model, rows, frozenset(), never, share=True), expected)


def test_only_first_ids_may_come_first_and_choices_are_read_before_that() -> None:
    model = made(SHARING["llama"])
    free = Row((1, 2, 3), 3, 0.0, 1.0, 0, choice_ids=tuple(range(VOCABULARY)))
    (before,) = continue_rows(model, [free], frozenset(), never, share=True)
    allowed = tuple(token for token in range(10) if token != before.ids[0])
    bound, unbound = continue_rows(model, [replace(free, first_ids=allowed), free], frozenset(), never, share=True)
    assert bound.ids[0] == max(allowed, key=lambda token: before.choice_logprobs[token])
    assert bound.choice_logprobs == pytest.approx(before.choice_logprobs, abs=1e-5)
    assert unbound.ids == before.ids


@pytest.mark.parametrize("kind", ["llama", "recurrence"])
def test_one_token_takes_no_second_step(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made({**SHARING, **PLAIN}[kind])
    steps = counted(model, monkeypatch)
    rows = [replace(row, max_tokens=1) for row in ROWS]
    found = continue_rows(model, rows, frozenset(), never, share=shares_prefixes(model))
    assert [len(row.ids) for row in found] == [1] * len(ROWS)
    assert len(steps) == 1


def test_only_the_ends_of_prompts_meet_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(SHARING["llama"])
    widths: list[int] = []
    model.lm_head.register_forward_hook(lambda module, given, output: widths.append(output.shape[1]))
    continue_rows(model, [replace(row, max_tokens=1) for row in ROWS], frozenset(), never, share=True)
    assert widths == [len(ROWS)]


def test_each_token_of_the_tree_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHUNK, "cpu", 7)
    model = made(SHARING["llama"])
    steps = counted(model, monkeypatch)
    continue_rows(model, [replace(row, max_tokens=1) for row in ROWS], frozenset(), never, share=True)
    assert sum(steps) == len({ids[:end] for ids in PROMPTS for end in range(1, len(ids) + 1)})


def test_finished_rows_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(SHARING["llama"])
    steps = counted(model, monkeypatch)
    rows = [Row((1, 2, n), max_tokens=2 if n else 6, temperature=0.0, top_p=1.0, seed=0) for n in range(4)]
    continue_rows(model, rows, frozenset(), never, share=True)
    assert steps == [6, 4, 1, 1, 1, 1]


@pytest.mark.parametrize("after", [0, 1, 3])
def test_it_gives_up_at_the_next_step_once_abandoned(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHUNK, "cpu", 7)
    model = made(SHARING["llama"])
    steps = counted(model, monkeypatch)
    continue_rows(model, ROWS, frozenset(), lambda: len(steps) >= after, share=True)
    assert len(steps) == after


def counted(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of each forward pass from now on."""
    steps: list[int] = []
    forward: Callable[..., object] = model.forward

    def counting(**inputs: torch.Tensor) -> object:
        steps.append(inputs["input_ids"].numel())
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", counting)
    return steps
