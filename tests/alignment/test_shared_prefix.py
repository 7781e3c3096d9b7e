"""A group's prompt computed once, against one line a response: the same losses and the same gradients."""

import json
import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from alignment.config import AlignStableOptions
from alignment.losses import stable_alignment_loss
from alignment.shared_prefix import SharedCollator, disagreement, joined, obstacle, unshareable
from alignment.stable import StableAlignmentConfig, StableAlignmentTrainer, group_nll
from alignment.tokens import Collator, Row
from alignment.training import run_training
from sandbox.config import load
from tests.alignment.conftest import make_group, make_model

VOCABULARY = 64
PAD = 1
ENDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.2, **ENDS}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}

SHARING = {
    "llama": LlamaConfig(**SIZES, **HEADS),
    "llama, eager": LlamaConfig(**SIZES, **HEADS, attn_implementation="eager"),
    "llama, tied": LlamaConfig(**SIZES, **HEADS, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SIZES, **HEADS),
    "qwen3": Qwen3Config(**SIZES, **HEADS, head_dim=8),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2, **ENDS
    ),
    # Windows that no prompt with its response outgrows; soft caps on scores and logits.
    "gemma2": Gemma2Config(**SIZES, **HEADS, head_dim=8, sliding_window=32),
    "mistral": MistralConfig(**SIZES, **HEADS, sliding_window=32),
}
WINDOW = "it has layers that see 8 tokens only, and prompts with a response may have 32"
RECURRENT = r"it has layers without full attention \(LinearAttentionLayer\)"
PLAIN = {
    "mistral": (MistralConfig(**SIZES, **HEADS, sliding_window=8), WINDOW),
    "gemma2": (Gemma2Config(**SIZES, **HEADS, head_dim=8, sliding_window=8), WINDOW),
    "gpt-neo": (
        GPTNeoConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=8,
            **ENDS,
        ),
        WINDOW,
    ),
    "mamba": (MambaConfig(**SIZES, state_size=4), RECURRENT),
    "lfm2": (Lfm2Config(**SIZES, **HEADS, layer_types=["conv", "full_attention"]), RECURRENT),
    "bloom": (BloomConfig(**SIZES, n_head=4), "it does not take shared rows"),
}

# Groups of unequal size, so that there is padding on both sides; a response of one token, twins, one alone.
ROWS = [
    Row((5, 6, 7, 8, 9, 10), ((11, 12, 13), (14,), (15, 16, 17, 18, 1)), (6.0, 2.0, 4.0), (False,) * 3, "?"),
    Row((20, 21), ((22, 1), (22, 1), (23, 24, 25), (26,)), (1.0, 7.0, 3.0, 3.0), (False,) * 4, "?"),
    Row((30, 31, 32), ((33, 34),), (5.0,), (False,), "?"),
]


def made(config):
    """The random model of a configuration, always the same one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


def batches(rows):
    """(one line a response, one line a group)."""
    return Collator(PAD)(rows), joined(rows, PAD)


def loss_and_gradients(model, batch):
    """The Stable Alignment loss with every hinge active, and the gradient of every parameter that has one."""
    model.zero_grad()
    nll = group_nll(model, batch)
    loss = stable_alignment_loss(nll, batch["ratings"], batch["present"], margin=30.0).sum()
    loss.backward()
    return loss.item(), {name: held.grad.clone() for name, held in model.named_parameters() if held.requires_grad}


def assert_trains_alike(model, rows=ROWS, tolerance=1e-5):
    lines, shared = (loss_and_gradients(model, batch) for batch in batches(rows))
    assert shared[0] == pytest.approx(lines[0], rel=tolerance)
    off = {
        name: ((shared[1][name] - gradient).abs().max() / gradient.abs().max()).item()
        for name, gradient in lines[1].items()
        if gradient.abs().max() > 1e-6  # GPT-2's bias of keys has none but rounding
    }
    assert len(off) > 0.8 * len(lines[1])
    assert {name: gap for name, gap in off.items() if not gap < tolerance} == {}


@pytest.mark.parametrize("kind", SHARING)
def test_loss_and_every_gradient_are_those_of_one_line_a_response(kind):
    model = made(SHARING[kind])
    assert unshareable(model, longest=32) is None
    assert_trains_alike(model)


@cache
def llama():
    return made(SHARING["llama"])


TOKENS = st.integers(0, VOCABULARY - 1)


@st.composite
def some_rows(draw):
    replies = st.lists(st.lists(TOKENS, min_size=1, max_size=6).map(tuple), min_size=1, max_size=5)
    group = st.tuples(st.lists(TOKENS, min_size=1, max_size=9).map(tuple), replies)
    return [
        Row(prompt, tuple(said), tuple(range(len(said))), (False,) * len(said), "?")
        for prompt, said in draw(st.lists(group, min_size=1, max_size=4))
    ]


@settings(max_examples=60, deadline=None)
@given(some_rows())
def test_whatever_the_lengths_losses_agree(rows):
    with torch.no_grad():
        lines, shared = (group_nll(llama(), batch) for batch in batches(rows))
    assert torch.allclose(shared, lines, rtol=1e-5, atol=1e-5)


def test_the_order_of_responses_does_not_matter():
    turned = [replace(row, replies=row.replies[::-1], scores=row.scores[::-1]) for row in ROWS[:1]]
    with torch.no_grad():
        forwards, backwards = (group_nll(llama(), joined(rows, PAD)) for rows in (ROWS[:1], turned))
    assert torch.allclose(forwards, backwards.flip(1), rtol=1e-5)


def test_padding_is_never_read():
    with torch.no_grad():
        one, other = (group_nll(llama(), joined(ROWS, padding)) for padding in (PAD, 50))
    assert torch.equal(one, other)


def test_only_responses_and_the_end_of_the_prompt_meet_the_vocabulary():
    seen = []
    model = made(SHARING["llama"])
    model.lm_head.register_forward_hook(lambda module, arguments, output: seen.append(output.shape[1]))
    group_nll(model, joined(ROWS[:1], PAD))
    assert seen == [1 + 3 + 1 + 5]


# peft 0.21 asks transformers for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_train_alike():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(made(SHARING["llama"]), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():  # B starts at zero, and A would have no gradient
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
    assert unshareable(model, longest=32) is None
    assert_trains_alike(model)


def test_gradient_checkpointing_trains_alike():
    model = made(SHARING["llama"])
    plainly = loss_and_gradients(model, joined(ROWS, PAD))
    model.activation_checkpointing_enable()
    model.train()
    assert_trains_alike(model)
    checkpointed = loss_and_gradients(model, joined(ROWS, PAD))
    assert all(torch.allclose(checkpointed[1][name], gradient, atol=1e-6) for name, gradient in plainly[1].items())


def test_bfloat16_autocast_stays_near():
    model = made(SHARING["llama"])
    with torch.autocast("cpu", torch.bfloat16):
        lines, shared = (loss_and_gradients(model, batch) for batch in batches(ROWS))
    assert shared[0] == pytest.approx(lines[0], rel=1e-2)
    for name, gradient in lines[1].items():
        assert torch.cosine_similarity(shared[1][name].flatten(), gradient.flatten(), dim=0) > 0.99, name


def test_a_wrapped_model_is_called_as_a_whole(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        bare = loss_and_gradients(made(SHARING["llama"]), joined(ROWS, PAD))
        wrapped = loss_and_gradients(DistributedDataParallel(made(SHARING["llama"])), joined(ROWS, PAD))
    finally:
        torch.distributed.destroy_process_group()
    assert wrapped[0] == bare[0]
    assert all(torch.equal(wrapped[1][f"module.{name}"], gradient) for name, gradient in bare[1].items())


@pytest.mark.parametrize("kind", PLAIN)
def test_models_that_cannot_say_why(kind):
    config, reason = PLAIN[kind]
    found = unshareable(made(config), longest=32)
    assert found is not None
    assert re.match(reason, found), found
    assert "\n" not in found and len(found) < 200


def test_attention_that_takes_no_mask_says_so():
    config = LlamaConfig(**SIZES, **HEADS)
    config._attn_implementation = "flash_attention_2"
    assert obstacle(config, 32) == "its attention (flash_attention_2) takes no mask; eager and sdpa do"


@pytest.mark.parametrize("ignored", ["attention_mask", "position_ids"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_quietly_ignores_what_it_is_told_is_found_out(ignored, dtype, monkeypatch):
    model = made(SHARING["llama"]).to(dtype)
    assert disagreement(model) is None
    forward = model.forward

    def deaf(**inputs):
        return forward(**inputs | ({ignored: None} if "position_ids" in inputs else {}))

    monkeypatch.setattr(model, "forward", deaf)
    assert "a trial gave other losses than plain rows" in disagreement(model)


def test_the_trial_leaves_no_trace():
    model = made(LlamaConfig(**SIZES, **HEADS, attention_dropout=0.5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert disagreement(model) is None
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_whose_losses_are_no_numbers_shares_nothing():
    model = made(SHARING["llama"])
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    assert "nan" in disagreement(model)


LONG = replace(ROWS[0], prompt=tuple(range(2, 42)))


@pytest.mark.parametrize(
    ("rows", "positions", "shared"),
    [
        ([LONG], None, True),
        (ROWS, None, True),
        ([ROWS[2]], None, False),  # one response: there is nothing to share
        ([LONG], 48, False),  # a row longer than the model's tables: 40 of the prompt and 9 behind it
        ([LONG], 49, True),
        ([replace(LONG, prompt=(5,), replies=((6,) * 20,) * 3)], None, False),  # its attention outweighs one token
    ],
)
def test_a_prompt_is_shared_where_that_costs_less(rows, positions, shared):
    batch = SharedCollator(Collator(PAD), 4, positions)(rows)
    assert ("response" in batch) is shared


@pytest.fixture
def train(tmp_path, tokenizer):
    def train(groups, model=None, **settings):
        args = StableAlignmentConfig(
            **{"output_dir": str(tmp_path), "max_length": 100, "disable_tqdm": True, "learning_rate": 1e-2} | settings
        )
        trainer = StableAlignmentTrainer(model or make_model(len(tokenizer)), args, groups, tokenizer)
        trainer.train()
        return trainer

    return train


def losses(trainer):
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def test_the_trainer_shares_and_says_why_where_it_cannot(train, groups, tokenizer):
    shared = train(groups, num_train_epochs=3)
    lines = train(groups, num_train_epochs=3, shared_prefix=False)
    assert (shared.unshared, lines.unshared) == (None, "shared_prefix is off")
    assert all("response" in batch for batch in shared.get_train_dataloader())
    assert losses(shared) == pytest.approx(losses(lines), rel=1e-4)
    config = MistralConfig(**SIZES | {"vocab_size": len(tokenizer)}, **HEADS, sliding_window=8)
    windowed = train(groups, made(config), max_steps=1)
    assert windowed.unshared == WINDOW.replace("32", "100")
    assert all("response" not in batch for batch in windowed.get_train_dataloader())


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_every_group_counts_alike_in_evaluation(tmp_path, tokenizer, groups, model, shared_prefix):
    args = StableAlignmentConfig(
        output_dir=str(tmp_path), max_length=100, disable_tqdm=True, shared_prefix=shared_prefix, responses=5
    )
    large = make_group("May I?", ["Yes!", "No?", "Be kind.", "Lie.", "Ask her."], [6, 2, 5, 1, 4])

    def evaluated(*held_out):
        trainer = StableAlignmentTrainer(model, args, groups, tokenizer, eval_dataset=list(held_out))
        return trainer.evaluate()["eval_loss"]

    assert evaluated(groups[0], large) == pytest.approx((evaluated(groups[0]) + evaluated(large)) / 2, rel=1e-5)


def test_align_stable_trains_alike_and_tells(small_model, tmp_path, capsys):
    rows = [
        {
            "query": f"May I do {n}?",
            "responses": ["Be kind.", "Ask her first, then decide.", "Lie."],
            "scores": [6, 4, 1],
        }
        for n in range(8)
    ]
    (tmp_path / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "lines.toml").write_text("[trainer]\nshared_prefix = false\n")
    flags = ["--model", str(small_model), "--test-share", "0", "--max-length", "100", "--groups-per-step", "2"]
    flags += ["--learning-rate", "1e-3", "--epochs", "3"]

    def align(out, *more):
        argv = [str(tmp_path / "rated.jsonl"), "--out", str(tmp_path / out), *flags, *more]
        folder = run_training(load(AlignStableOptions, argv, prog="align stable"))
        metrics = json.loads((folder / "metrics.json").read_text())
        log = [json.loads(line) for line in (folder / "trainer_log.jsonl").read_text().splitlines()]
        return load_file(folder / "model.safetensors"), [at["loss"] for at in log if "loss" in at], metrics["train"]

    shared, shared_losses, shared_counts = align("shared")
    assert "a prompt is computed once for all its responses" in capsys.readouterr().err
    lines, line_losses, line_counts = align("lines", "--config", str(tmp_path / "lines.toml"))
    told = capsys.readouterr().err
    assert told.count("a prompt is computed anew for each of its responses: shared_prefix is off") == 1
    assert (shared_counts["unshared"], line_counts["unshared"]) == (None, "shared_prefix is off")

    start = load_file(small_model / "model.safetensors")
    assert [name for name, value in shared.items() if torch.equal(value, start[name])] == []
    assert shared_losses[-1] < shared_losses[0]
    assert shared_losses == pytest.approx(line_losses, rel=1e-4)
    assert all(torch.allclose(value, lines[name], atol=1e-4) for name, value in shared.items())
