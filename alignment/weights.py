"""The models that trainings load."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from agents.local import pretrained
from agents.models import model_folder
from agents.reward_model import classifier


def whole_model(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of that name in float32, on the CPU, with its tokenizer. Raises BadInput.

    Every process has all of it, for it is measured before it is trained: DeepSpeed would divide it while it is loaded.
    """
    unset_hf_deepspeed_config()  # the trainer sets it again
    return pretrained(name, model_folder(name), torch.float32)


def reward_backbone(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of that name as a sequence classifier with one output, in float32. Raises BadInput.

    A reward model is trained on; any other encoder or language model gets a head of random numbers.
    """
    unset_hf_deepspeed_config()
    return classifier(name, model_folder(name), "an encoder or a language model", new_head=True)


def with_adapter(model: PreTrainedModel, rank: int, task: str = "CAUSAL_LM") -> Any:
    """`model` with a new low-rank adapter on all its linear layers, which alone is trained; `task` as peft names it.

    Of a classifier the head is trained as well.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type=task)
    return get_peft_model(model, config)
