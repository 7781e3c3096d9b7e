"""What is a prompt that all responses of a group share worth in training, beside plain rows and beside TRL?

    python benchmarks/shared_prefix.py [--prompt 200] [--responses 4] [--response 48] [--out FILE.json]

Every method trains the same model in full, in float32 on the CPU, on the same groups of sentences of the shipped prior,
in a process of its own. One group is taken at once, and --groups-per-step groups make a step.

    shared   StableAlignmentTrainer, a group's prompt computed once
    rows     the same loss, a line for every response (`shared_prefix=False`)
    sft      TRL's SFTTrainer, all responses of a group, a line each
    dpo      TRL's DPOTrainer with its reference model, the best response against each of the others

    tokens/s   of the data, whatever a method computes them for: a group's responses (`response`), and these with its
               prompt, each once (`all`); of all steps but the first
    x          to plain rows
    peak_mb    the most memory that the process took, the model, its gradients and Adam's state included

`loss` is the first step's: that of shared and rows must be the same. Needs TRL (`pip install -e '.[align]'`). The
last line is the table as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Trainer

    from alignment.tokens import ChatFormat
    from sandbox.dataset import Group

PRIOR = Path(__file__).parents[1] / "sandbox" / "data" / "prior.jsonl"
METHODS = ("rows", "shared", "sft", "dpo")
ROOM = 32  # tokens beyond those asked for: words come whole

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What to train, and on what: how many groups; the tokens of a prompt and of each of its responses."""

    model: str
    steps: int
    groups_per_step: int
    prompt: int
    responses: int
    response: int

    @property
    def max_length(self) -> int:
        return self.prompt + self.response + ROOM


def some_groups(shape: Shape, format: ChatFormat) -> list[Group]:
    """Groups whose prompts and responses have the shape's tokens, chat template and end of turn included."""
    from agents.language_model import Message
    from sandbox.dataset import Group

    prior = [json.loads(line)["response"] for line in PRIOR.read_text("utf-8").splitlines()]
    words = (word for number in count() for word in prior[number % len(prior)].split())

    def grown(tokens: int, size: Any) -> str:
        said = [next(words)]
        while size(" ".join(said)) < tokens:
            said.append(next(words))
        return " ".join(said)

    def group() -> Group:
        ask = grown(shape.prompt, lambda text: len(format.template.ids((Message("user", text),))))
        answers = [
            grown(shape.response - 1, lambda text: len(format.tokenizer(text)["input_ids"]))
            for _ in range(shape.responses)
        ]
        scores = tuple(7.0 - number for number in range(shape.responses))
        blank = ("",) * shape.responses
        return Group((Message("user", ask),), tuple(answers), scores, (True,) * shape.responses, blank, ask)

    return [group() for _ in range(shape.steps * shape.groups_per_step)]


def stable(model: Any, tokenizer: Any, groups: list[Group], shape: Shape, shared: bool, common: Row) -> Trainer:
    from alignment.stable import StableAlignmentConfig, StableAlignmentTrainer

    args = StableAlignmentConfig(
        **common, shared_prefix=shared, responses=shape.responses, per_device_train_batch_size=1
    )
    trainer = StableAlignmentTrainer(model, args, groups, tokenizer)
    assert (trainer.unshared is None) is shared, trainer.unshared
    return trainer


def sft(model: Any, tokenizer: Any, groups: list[Group], shape: Shape, common: Row) -> Trainer:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"prompt": said("user", group.question), "completion": said("assistant", answer)}
        for group in groups
        for answer in group.responses
    ]
    args = SFTConfig(**common, gradient_checkpointing=False, per_device_train_batch_size=shape.responses)
    return SFTTrainer(model, args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def dpo(model: Any, tokenizer: Any, groups: list[Group], shape: Shape, common: Row) -> Trainer:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = [
        {
            "prompt": said("user", group.question),
            "chosen": said("assistant", group.responses[0]),
            "rejected": said("assistant", worse),
        }
        for group in groups
        for worse in group.responses[1:]
    ]
    args = DPOConfig(**common, gradient_checkpointing=False, per_device_train_batch_size=shape.responses - 1)
    return DPOTrainer(model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def said(role: str, text: str) -> list[Row]:
    return [{"role": role, "content": text}]


def measure(method: str, shape: Shape) -> Row:
    """Train by one method; to be called in a fresh process."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import torch
    from transformers import PrinterCallback, TrainerCallback

    from agents.local import pretrained
    from agents.models import model_folder
    from alignment.tokens import ChatFormat

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *arguments: Any, **others: Any) -> None:
            self.ends.append(time.perf_counter())

    model, tokenizer = pretrained(shape.model, model_folder(shape.model), torch.float32)
    format = ChatFormat.of(tokenizer)
    groups = some_groups(shape, format)
    rows = [format.row(group, shape.max_length) for group in groups]
    responses = sum(len(reply) for row in rows if row for reply in row.replies) / len(rows)
    prompts = sum(len(row.prompt) for row in rows if row) / len(rows)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        common = {
            "output_dir": folder,
            "max_length": shape.max_length,
            "max_steps": shape.steps,
            "gradient_accumulation_steps": shape.groups_per_step,
            "logging_steps": 1,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "bf16": False,
        }
        if method == "sft":
            trainer = sft(model, tokenizer, groups, shape, common)
        elif method == "dpo":
            trainer = dpo(model, tokenizer, groups, shape, common)
        else:
            trainer = stable(model, tokenizer, groups, shape, method == "shared", common)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)
        trainer.train()
    seconds = (clock.ends[-1] - clock.ends[0]) / (shape.steps - 1) / shape.groups_per_step
    return {
        "method": method,
        "prompt_tokens": round(prompts, 1),
        "response_tokens": round(responses, 1),
        "seconds_a_group": round(seconds, 2),
        "response_tokens_a_second": round(responses / seconds, 1),
        "all_tokens_a_second": round((prompts + responses) / seconds, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "loss": next(line["loss"] for line in trainer.state.log_history if "loss" in line),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="the first is what x relates to")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--steps", type=int, default=3, help="the first is not timed")
    parser.add_argument("--groups-per-step", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=200, help="tokens of a prompt")
    parser.add_argument("--responses", type=int, default=4, help="responses of a group")
    parser.add_argument("--response", type=int, default=48, help="tokens of a response")
    parser.add_argument("--out", type=Path, help="write the table here as JSON, too")
    options = parser.parse_args()
    shape = Shape(**{field.name: getattr(options, field.name) for field in fields(Shape)})
    table: list[Row] = []
    print(f"{'':8}{'response tokens/s':>18}{'all tokens/s':>14}{'x':>7}{'peak_mb':>9}{'loss':>10}")
    # A worker takes one task: the next method starts with nothing in memory.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes:
        for row in processes.map(measure, options.methods, [shape] * len(options.methods)):
            table.append(row)
            speed = row["response_tokens_a_second"] / table[0]["response_tokens_a_second"]
            row["x"] = round(speed, 2)
            print(
                f"{row['method']:8}{row['response_tokens_a_second']:18.1f}{row['all_tokens_a_second']:14.1f}"
                f"{row['x']:7.2f}{row['peak_mb']:9d}{row['loss']:10.4f}",
                flush=True,
            )
    text = json.dumps({"shape": asdict(shape), "table": table})
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
