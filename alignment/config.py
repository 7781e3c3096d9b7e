"""Every option of `align`, declared once; `sandbox.config.load` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, CliImplicitFlag, CliPositionalArg, CliSuppress, NoDecode

from sandbox.config import OPTIONS, Number, split_words
from sandbox.responses import CriticScore, GroupType, ScoreBy

Types = Annotated[list[GroupType], NoDecode, BeforeValidator(split_words), Field(min_length=1)]


class _Data(BaseSettings):
    """What data is read, and how."""

    model_config = OPTIONS

    sources: CliPositionalArg[list[Path]] = Field(
        min_length=1, description="run folders, or JSON / JSONL files of {query, responses, scores}"
    )
    config: Path | None = Field(None, description="TOML file with any of these options")
    model: str = Field("smollm2-135m-instruct", description="a hub name, a local folder or the embedded default")
    type: Types = Field(
        ["imitation"], description="rows made of runs (repeatable): imitation, self_critic, realignment"
    )
    score_by: ScoreBy = Field(
        "alignment", description="what scores a run's answers; product is √(alignment·engagement)"
    )
    observer: str | None = Field(None, description="observer whose ratings score a run (the run's first)")
    critic_score: CriticScore = Field(
        "agreement", description="what scores a peer's reason: agreement with the observer, or the peer's own rating"
    )
    rating_scale: Number | None = Field(None, gt=0, description="span S of the ratings (from the data; 7 for 1–7)")
    delta: Number = Field(0.25, ge=0, description="ratings this near the best count as equal, on a scale of 1–7")
    max_length: int = Field(512, ge=2, description="tokens of prompt and response; longer responses are cut")


class AlignCheckOptions(_Data):
    """Show what a trainer would read: counts, scores, lengths, and one example with its trained tokens marked."""


class AlignStableOptions(_Data):
    """Train a model on groups of rated answers by Stable Alignment (arXiv 2305.16960)."""

    out: Path = Field(description="folder to write the trained model to")
    seed: int = Field(0, ge=0, description="decides the split, the order of groups, and which responses are drawn")
    test_share: Number = Field(0.2, ge=0, lt=1, description="share of questions held out to measure on; 0 for none")
    encoder: str = Field("all-minilm-l6-v2", description="sentence encoder; paraphrases stay on one side of the split")

    weight: Number = Field(0.2, ge=0, description="λ, the weight of the contrast with worse responses; 0 is plain SFT")
    margin: Number = Field(1.0, ge=0, description="M, the margin at a rating difference of the whole scale")
    reduction: Literal["sum", "mean", "max"] = Field("sum", description="over a group's hinges")
    responses: int = Field(3, ge=1, description="K, responses of a group in one step: the best and others at random")
    epochs: Number = Field(1.0, gt=0, description="passes over the training groups")
    learning_rate: Number | None = Field(None, gt=0, description="peak of the cosine (2e-5; with --lora 2e-4)")
    groups_per_step: int = Field(8, ge=1, description="groups whose gradients make one step, over all processes")
    lora: CliImplicitFlag[bool] = Field(False, description="train a low-rank adapter; --out holds the merged model")
    lora_rank: int = Field(16, ge=1, description="rank of the adapter")
    trainer: CliSuppress[dict[str, Any]] = Field(  # a table, so no flag
        default={}, description="the table [trainer] of --config: more of transformers' TrainingArguments"
    )


class AlignVerifyOptions(BaseSettings):
    """Check what a trained model was made of, back to the lines of the transcripts."""

    model_config = OPTIONS

    model: CliPositionalArg[Path] = Field(description="folder that align wrote")
    sources: CliPositionalArg[list[Path]] = Field(
        [], description="the runs and files that it was made of, in their order (where they were then)"
    )
