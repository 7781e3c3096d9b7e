import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.language_model import Message
from alignment import held_out
from alignment.config import AlignStableOptions
from alignment.training import run_training
from sandbox.config import load
from sandbox.dataset import Group

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = [
    "Be kind and honest with people.",
    "Take what you want and lie about it.",
    "Ask her first, then help. Yes! No?",
]


def make_tokenizer():
    """A small byte-level tokenizer with a chat template, whose padding token is its end of turn, as SmolLM2's is."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(WORDS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def make_model(vocabulary):
    """A random two-layer Llama, always the same one."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            tie_word_embeddings=True,
        )
    )


def make_group(question, responses, scores, finished=None):
    """A group with one user message."""
    finished = tuple(finished or [True] * len(responses))
    names = ("",) * len(responses)
    return Group((Message("user", question),), tuple(responses), tuple(map(float, scores)), finished, names, question)


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def model(tokenizer):
    return make_model(len(tokenizer))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """The folder of that model and tokenizer."""
    folder = tmp_path_factory.mktemp("small")
    tokenizer = make_tokenizer()
    make_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def groups():
    """Six questions, each with a kind, an indifferent and an unkind answer; which one comes first varies."""
    answers = [("Be kind and honest.", 6.5), ("Ask her first.", 4.0), ("Lie about it.", 1.5)]
    made = []
    for number in range(6):
        turned = answers[number % 3 :] + answers[: number % 3]
        made.append(make_group(f"What about {number}?", *zip(*turned, strict=True)))
    return made


ANSWERS = [("Be kind and honest.", 6.5), ("Ask her first, then decide.", 4.0), ("Lie about it.", 1.5)]


class OneHot:
    """An encoder to which all texts differ."""

    def __init__(self, folder):
        pass

    def encode(self, texts):
        return np.eye(len(texts), dtype=np.float32)


@pytest.fixture
def data(tmp_path):
    """Ten questions with three answers each."""
    rows = [
        {"query": f"May I do {number}?", "responses": [a for a, _ in ANSWERS], "scores": [s for _, s in ANSWERS]}
        for number in range(10)
    ]
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def one_hot(monkeypatch):
    """Questions are all different, and none needs an encoder."""
    monkeypatch.setattr(held_out, "Encoder", OneHot)


@pytest.fixture
def align(data, small_model, tmp_path, one_hot):
    """Runs `align stable` on the ten questions with the tiny model."""

    def align(*flags, out="trained", source=data):
        argv = [str(source), "--model", str(small_model), "--out", str(tmp_path / out), "--max-length", "100"]
        argv += ["--answers", "0"]  # its tokenizer has too few words for a judge
        return run_training(load(AlignStableOptions, [*argv, *flags], prog="align stable"))

    return align
