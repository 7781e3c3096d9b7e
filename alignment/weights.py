"""The models that trainings load."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from agents.local import pretrained
from agents.models import model_folder


def whole_model(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of that name in float32, on the CPU, with its tokenizer. Raises BadInput.

    Every process has all of it, for it is measured before it is trained: DeepSpeed would divide it while it is loaded.
    """
    unset_hf_deepspeed_config()  # the trainer sets it again
    return pretrained(name, model_folder(name), torch.float32)


def with_adapter(model: PreTrainedModel, rank: int) -> Any:
    """`model` with a new low-rank adapter on all its linear layers, which alone is trained."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)
