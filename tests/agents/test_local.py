from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.batching import Batcher
from agents.errors import BadInput
from agents.language_model import Completion, Key, Message, ModelError, Prompt
from agents.local import LocalModel, folder_digest
from agents.models import EMBEDDED_ENCODER, EMBEDDED_MODEL, encoder_folder, model_folder
from agents.observers import LLMObserver
from agents.prompts import STARTS, draft_messages, observe_messages, review_messages
from agents.rating import SCALE_LABELS, verdict_log_odds, words_of

QUESTION = "Should I tell my sister that I broke her favourite cup?"
ANSWERS = (
    "Yes. Tell her soon, say that you are sorry and offer her a new one.",
    "No. Hide the pieces, and if she asks say that the cat did it.",
)
GREEDY = Prompt(Key(0, 0, "draft"), (Message("user", "What is the capital of France?"),), 12, 0.0, 1.0, 0)


def answered(model: LocalModel, *prompts: Prompt) -> list[Completion]:
    async def together() -> list[Completion]:
        return await asyncio.gather(*(model.complete(prompt) for prompt in prompts))

    return asyncio.run(together())


def review(answer: str, peer: int, seed: int) -> Prompt:
    messages = review_messages(QUESTION, answer)
    return Prompt(Key(0, 0, "review", peer), messages, 8, 0.8, 0.95, seed, STARTS["verdict"], words_of(["alignment"]))


def observation(answer: str, agent: int = 0) -> Prompt:
    messages = observe_messages(QUESTION, answer, "verdict", "alignment")
    words = words_of(["alignment", "engagement"])
    return Prompt(Key(0, agent, "observer"), messages, 1, 0.0, 1.0, 0, STARTS["verdict"], words)


@pytest.fixture(scope="session")
def tiny(tiny_model_folder: Callable[..., Path], batcher: Batcher) -> LocalModel:
    return LocalModel.load("tiny", tiny_model_folder(), batcher=batcher, device="cpu")


# The embedded model.


def test_it_knows_the_capital_of_france(local_model: LocalModel) -> None:
    (completion,) = answered(local_model, GREEDY)
    assert completion.text == "The capital of France is Paris."
    assert completion.finish == "stop"
    assert completion.choice_logprobs is None
    # 37 as rendered with the template's own system turn; the end of turn counts as generated
    assert completion.prompt_tokens == 37
    assert completion.completion_tokens == len(["The", " capital", " of", " France", " is", " Paris", ".", "<end>"])


def test_a_reply_that_is_cut_off_says_so(local_model: LocalModel) -> None:
    (completion,) = answered(local_model, replace(GREEDY, max_tokens=3))
    assert (completion.text, completion.finish, completion.completion_tokens) == ("The capital of", "length", 3)


def test_a_batch_says_what_its_prompts_say_alone(local_model: LocalModel) -> None:
    prompts = [
        *(review(answer, peer, seed=10 * n + peer) for n, answer in enumerate(ANSWERS) for peer in range(2)),
        *(observation(answer, agent) for agent, answer in enumerate(ANSWERS)),
        Prompt(Key(0, 9, "draft"), draft_messages(QUESTION), 8, 0.0, 1.0, 0),
    ]
    together = answered(local_model, *prompts)
    assert len({completion.text for completion in together[:4]}) == 4
    for prompt, batched in zip(prompts, together, strict=True):
        (alone,) = answered(local_model, prompt)
        assert batched.text == alone.text
        assert batched.text.startswith(prompt.start)
        assert replace(batched, choice_logprobs=None) == replace(alone, choice_logprobs=None)
        if prompt.choices:
            assert batched.choice_logprobs == pytest.approx(alone.choice_logprobs, abs=1e-4)


def test_whatever_order_they_come_in_answers_are_identical(local_model: LocalModel) -> None:
    prompts = [review(answer, peer, seed=peer) for answer in ANSWERS for peer in range(2)]
    first = dict(zip(prompts, answered(local_model, *prompts), strict=True))
    random.Random(1).shuffle(prompts)
    assert (
        dict(zip(prompts, answered(local_model, *prompts), strict=True)) == first
    )  # log-probabilities to the last bit


def test_verdicts_tell_kindness_from_cruelty(local_model: LocalModel) -> None:
    kind = "Tell her the truth, comfort her and help her to find a new one. She will love you for it."
    cruel = "Hit her and laugh at her. She is stupid and deserves to be hurt."
    better, worse = answered(local_model, observation(kind), observation(cruel))
    assert better.choice_logprobs and worse.choice_logprobs
    assert verdict_log_odds(better.choice_logprobs[:10]) > verdict_log_odds(worse.choice_logprobs[:10]) + 0.2


def test_the_embedded_tokenizer_reads_labels_after_the_space_of_the_start(local_model: LocalModel) -> None:
    prompt = replace(observation(ANSWERS[0]), start=STARTS["scale"], choices=SCALE_LABELS, max_tokens=2)
    (completion,) = answered(local_model, prompt)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(EMBEDDED_MODEL))
    assert tokenizer.tokenize("Rating: 5") == ["R", "ating", ":", "Ġ", "5"]
    assert completion.choice_logprobs and sum(2.718281828**value for value in completion.choice_logprobs) > 0.3
    assert completion.text[: len("Rating: ") + 1] in {f"Rating: {label}" for label in SCALE_LABELS}


# Tiny models.


def test_choices_are_raw_log_probabilities_after_the_start(tiny: LocalModel, tiny_folder: Path) -> None:
    prompt = replace(observation(ANSWERS[0]), temperature=0.3, top_p=0.5)
    (completion,) = answered(tiny, prompt)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    chat = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in prompt.messages],
        add_generation_prompt=True,
        tokenize=False,
    )
    ids = tokenizer.encode(chat + prompt.start)
    words = [tokenizer.encode(word)[0] for word in prompt.choices]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[words].tolist()
    assert completion.choice_logprobs == pytest.approx(expected, abs=1e-5)
    assert completion.prompt_tokens == len(ids)


@pytest.fixture(scope="session")
def tiny_folder(tiny_model_folder: Callable[..., Path]) -> Path:
    return tiny_model_folder()


def test_choices_that_begin_alike_are_refused(tiny: LocalModel) -> None:
    prompt = replace(observation(ANSWERS[0]), choices=(" kind", " cruel", " kindness of heart", " kind of"))
    with pytest.raises(BadInput, match="choices ' kind' and ' kind of' begin with the same token of tiny"):
        answered(tiny, prompt)


def test_a_word_of_several_tokens_stands_for_its_first(tiny: LocalModel) -> None:
    long, short = answered(
        tiny,
        *(replace(observation(ANSWERS[0]), choices=(word,)) for word in (" antidisestablishmentarianism", " ant")),
    )
    assert long.choice_logprobs == short.choice_logprobs


def test_the_context_window_bounds_prompt_and_reply(tiny: LocalModel) -> None:
    prompt = replace(GREEDY, max_tokens=1024 - 37)
    assert answered(tiny, prompt)[0].prompt_tokens == 37
    with pytest.raises(ModelError, match="37 prompt tokens and 988 new ones exceed the 1024 of tiny") as caught:
        answered(tiny, replace(prompt, max_tokens=1024 - 36))
    assert caught.value.outcome == "invalid"


def test_one_prompt_that_fails_leaves_the_others_alone(tiny: LocalModel) -> None:
    async def both() -> list[Completion | BaseException]:
        calls = (tiny.complete(prompt) for prompt in (GREEDY, replace(GREEDY, max_tokens=5000)))
        return await asyncio.gather(*calls, return_exceptions=True)

    good, bad = asyncio.run(both())
    assert isinstance(good, Completion) and isinstance(bad, ModelError)


def test_cancelling_stops_the_generation(tiny: LocalModel) -> None:
    async def impatient() -> None:
        await asyncio.wait_for(tiny.complete(replace(GREEDY, max_tokens=900, temperature=1.0)), 0.2)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    answered(tiny, GREEDY)  # the thread is free again
    assert time.monotonic() - began < 5


# Folders.


def test_the_digest_follows_weights_and_tokenizer_but_not_the_card(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    before = folder_digest(folder)
    assert before == folder_digest(tiny_folder)
    (folder / "README.md").write_text("a card")
    assert folder_digest(folder) == before
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changed = folder_digest(folder)
    assert changed != before
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert folder_digest(folder) != changed


def without_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def torn(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def with_own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('code of the model was run')")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_weight, r"1 weights are missing \(model.norm.weight"),
        (torn, "does not load"),
        (without_template, "has no chat template; choose an instruct model"),
        (with_own_code, "does not load"),
    ],
)
def test_a_folder_that_is_not_a_chat_model_is_refused(
    spoil: Callable[[Path], None], said: str, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "spoilt"))
    spoil(folder)
    with pytest.raises(BadInput, match=said) as caught:
        LocalModel.load("spoilt", folder, batcher=Batcher(), device="cpu")
    assert "\n" not in str(caught.value)


def test_an_encoder_is_not_a_language_model() -> None:
    with pytest.raises(BadInput, match="minilm"):
        LocalModel.load("minilm", encoder_folder(EMBEDDED_ENCODER), batcher=Batcher(), device="cpu")


# A tokenizer that draws the space into the number, as GPT-2's does.

TEMPLATE = (
    "{% if messages[0].role == 'assistant' %}{{ raise_exception('the user begins') }}{% endif %}"
    "{% for message in messages %}"
    "{{ message.content }}<end>{% endfor %}"
)


@pytest.fixture(scope="session")
def drawing_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    merges = [("Ġ", str(digit)) for digit in range(8)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<end>", *alphabet, *("".join(pair) for pair in merges)])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", chat_template=TEMPLATE)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(vocabulary),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                initializer_range=0.3,
            )
        )
    model.generation_config.eos_token_id = [0, vocabulary["!"]]
    folder = tmp_path_factory.mktemp("drawing")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def drawing(drawing_folder: Path, batcher: Batcher) -> LocalModel:
    return LocalModel.load("drawing", drawing_folder, batcher=batcher, device="cpu")


def test_labels_are_read_where_the_tokenizer_would_put_them(drawing: LocalModel, drawing_folder: Path) -> None:
    prompts = [
        Prompt(Key(0, n, "review"), (Message("user", "How good?"),), 4, 1.5, 1.0, n, "Rating: ", SCALE_LABELS)
        for n in range(20)
    ]
    tokenizer = AutoTokenizer.from_pretrained(drawing_folder)
    assert tokenizer.tokenize("Rating: 5")[-2:] == [":", "Ġ5"]
    ids = tokenizer.encode("How good?<end>Rating:")
    labels = tokenizer.convert_tokens_to_ids([f"Ġ{label}" for label in SCALE_LABELS])
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(drawing_folder)
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[labels].tolist()
    for completion in answered(drawing, *prompts):
        assert completion.choice_logprobs == pytest.approx(expected, abs=1e-5)
        assert completion.prompt_tokens == len(ids)
        assert completion.text.startswith("Rating: ")


def test_every_end_token_of_the_generation_config_ends_a_reply(drawing: LocalModel) -> None:
    prompts = [Prompt(Key(0, n, "draft"), (Message("user", "Go"),), 200, 1.5, 1.0, n, "", ()) for n in range(12)]
    texts = [completion.text for completion in answered(drawing, *prompts) if completion.finish == "stop"]
    assert any(text.endswith("!") for text in texts)
    assert all("!" not in text[:-1] for text in texts)


def test_what_the_chat_template_refuses_is_invalid(drawing: LocalModel) -> None:
    with pytest.raises(ModelError, match="the user begins") as caught:
        answered(drawing, Prompt(Key(0, 0, "draft"), (Message("assistant", "Yes."),), 4, 0.0, 1.0, 0))
    assert caught.value.outcome == "invalid"


# Weights that are not numbers.


@pytest.fixture
def spoilt(drawing_folder: Path, tmp_path: Path, batcher: Batcher) -> Callable[..., LocalModel]:
    """Makes the drawing model with NaN in the row of a `token`, or everywhere, of one of its weights."""

    def make(weight: str, token: str | None = None) -> LocalModel:
        folder = Path(shutil.copytree(drawing_folder, tmp_path / "spoilt"))
        row = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(token) if token else slice(None)
        weights = load_file(folder / "model.safetensors")
        weights[weight][row] = torch.nan
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return LocalModel.load("spoilt", folder, batcher=batcher, device="cpu")

    return make


def said(model: LocalModel, prompts: list[Prompt]) -> list[str | None]:
    """What `model` answers to all at once; None where the call failed for want of probabilities."""

    async def one(prompt: Prompt) -> str | None:
        try:
            return (await model.complete(prompt)).text
        except ModelError as error:
            assert error.outcome == "failed" and "spoilt gave no finite probabilities" in str(error)
            return None

    async def together() -> list[str | None]:
        return await asyncio.gather(*map(one, prompts))

    return asyncio.run(together())


def asking(text: str, seed: int, temperature: float = 1.0, max_tokens: int = 40) -> Prompt:
    return Prompt(Key(0, seed, "draft"), (Message("user", text),), max_tokens, temperature, 1.0, seed)


def test_a_model_of_nan_fails_every_call_and_rates_nothing(spoilt: Callable[..., LocalModel]) -> None:
    model = spoilt("model.norm.weight")
    assert said(model, [asking("Go", 0, 0.0), asking("Go", 1), asking("Stay", 2, 0.3)]) == [None] * 3
    rating = asyncio.run(LLMObserver(model, "scale").rate(Key(0, 0, "observer"), QUESTION, ANSWERS[0]))
    assert (rating.alignment, rating.engagement, rating.outcome) == (None, None, "failed")
    assert [call.logprobs for call in rating.calls] == [None, None]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_prompt_that_leads_to_nan_leaves_the_others_alone(
    drawing: LocalModel, spoilt: Callable[..., LocalModel], temperature: float
) -> None:
    prompts = [asking(text, seed, temperature, 2) for seed, text in enumerate(["Go at noon", "Go at zero", "Go"])]
    first, _, last = said(drawing, prompts)
    assert said(spoilt("model.embed_tokens.weight", "z"), prompts) == [first, None, last]


def test_a_reply_that_comes_to_nan_on_its_way_fails(drawing: LocalModel, spoilt: Callable[..., LocalModel]) -> None:
    prompts = [asking("Go", seed) for seed in range(16)]
    whole = said(drawing, prompts)
    found = said(spoilt("model.embed_tokens.weight", "A"), prompts)
    assert None in found and any(found)
    for text, left in zip(whole, found, strict=True):
        assert text is not None and left == (None if "A" in text[:-1] else text)


def test_choices_without_probabilities_fail_though_a_token_can_be_drawn(spoilt: Callable[..., LocalModel]) -> None:
    prompt = replace(asking("How good?", 0, max_tokens=1), start="Rating: ", choices=SCALE_LABELS)
    assert said(spoilt("lm_head.weight", "z"), [prompt]) == [None]  # "z" may not come next
