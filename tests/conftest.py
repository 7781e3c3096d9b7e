"""What many tests share: the embedded models, loaded once, and a tiny model to train on."""

from __future__ import annotations

import os

# Before any import of them: tests never reach for the hub, and forked workers keep still.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agents.batching import Batcher
    from agents.local import LocalModel
    from memory.encoder import Encoder
    from tests.fakes.mock_server import MockServer


@pytest.fixture(scope="session")
def batcher() -> Batcher:
    """The one gatherer of this process."""
    from agents.batching import Batcher

    return Batcher()


@pytest.fixture(scope="session")
def local_model(batcher: Batcher) -> LocalModel:
    """The embedded model, the real one."""
    from agents.models import EMBEDDED_MODEL, load_model

    return load_model(EMBEDDED_MODEL, batcher)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The embedded encoder, the real one."""
    from agents.models import EMBEDDED_ENCODER, encoder_folder
    from memory.encoder import Encoder

    return Encoder(encoder_folder(EMBEDDED_ENCODER))


@pytest.fixture
def server() -> Iterator[MockServer]:
    """A server without a model; it keeps the bodies that it is sent."""
    from tests.fakes.mock_server import MockServer

    with MockServer(keep_bodies=True) as running:
        yield running


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes folders of tiny random Llamas (two layers, 16 wide) with the embedded model's tokenizer."""

    def make(seed: int = 0) -> Path:
        import torch
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        from agents.models import EMBEDDED_MODEL, model_folder

        tokenizer = AutoTokenizer.from_pretrained(model_folder(EMBEDDED_MODEL))
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config)
        folder = tmp_path_factory.mktemp(f"tiny-{seed}")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make
