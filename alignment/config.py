"""Every option of `align`, declared once; `sandbox.config.load` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic_settings import BaseSettings, CliImplicitFlag, CliPositionalArg, CliSuppress
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from sandbox.config import OPTIONS, Names, Number
from sandbox.responses import CriticScore, ScoreBy


class ReadOptions(BaseSettings):
    """How rated answers are read."""

    model_config = OPTIONS

    config: Path | None = Field(None, description="TOML file with any of these options")
    type: Names = Field(
        [],
        description="rows made of runs (repeatable): imitation, self_critic, realignment; mixed by TYPE=WEIGHT "
        "(imitation)",
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
    max_flawed: Number = Field(
        0.05,
        ge=0,
        le=1,
        description="share of a file's responses that may be empty or have no score; they are left out",
    )
    max_length: int = Field(512, ge=2, description="tokens of prompt and response; longer responses are cut")


class DataOptions(ReadOptions):
    """What data is read, for what model."""

    sources: CliPositionalArg[list[Path]] = Field(
        min_length=1,
        description="run folders; JSON, JSONL or parquet files, saved datasets or hub:NAME[@SPLIT], of rated answers "
        "or pairs",
    )
    model: str = Field("smollm2-135m-instruct", description="a hub name, a local folder or the embedded default")


class AlignCheckOptions(DataOptions):
    """Show what a trainer would read: counts, scores, lengths, and one example with its trained tokens marked."""


class StepOptions(BaseSettings):
    """How the steps of a training are taken, and where what it makes is written."""

    model_config = OPTIONS

    out: Path = Field(description="folder to write the trained model to")
    seed: int = Field(0, ge=0, description="decides what is held out, the order of training, and all that is drawn")
    test_share: Number = Field(0.2, ge=0, lt=1, description="share of questions held out to measure on; 0 for none")
    encoder: str = Field("all-minilm-l6-v2", description="sentence encoder; paraphrases stay on one side of the split")

    epochs: Number = Field(1.0, gt=0, description="passes over the groups or pairs of a training, stage or iteration")
    learning_rate: Number | None = Field(None, gt=0, description="peak of the cosine (by method, see docs)")
    groups_per_step: int = Field(8, ge=1, description="groups, or pairs, that make one step, over all processes")
    lora: CliImplicitFlag[bool] = Field(False, description="train a low-rank adapter; --out holds the merged model")
    lora_rank: int = Field(16, ge=1, description="rank of the adapter")

    save_steps: int = Field(0, ge=0, description="steps between checkpoints, which --resume goes on from; 0 for none")
    resume: CliImplicitFlag[bool] = Field(False, description="go on with this training where it stopped")
    report_to: Names = Field([], description="where else to log, as transformers names it: tensorboard, wandb, …")
    trainer: CliSuppress[dict[str, Any]] = Field(  # a table, so no flag
        default={}, description="the table [trainer] of --config: more of transformers' TrainingArguments"
    )


class TrainingOptions(DataOptions, StepOptions):
    """What every training on rated answers has, whatever is trained."""

    stages: Names = Field(
        [],
        description="train on types one after the other (repeatable, in order): TYPE, TYPE+TYPE, TYPE=EPOCHS; "
        "replaces --type",
    )
    watch: int = Field(4, ge=0, description="times that held-out groups are measured on between start and end")
    judge: str = Field(
        "llm:verdict", description="who rates fresh answers: llm:verdict, llm:scale, embedding or reward-model:DIR"
    )
    judge_model: str | None = Field(None, description="model of an llm judge (the base that --model was trained from)")


class PolicyOptions(TrainingOptions):
    """What every training of a language model has, whatever its method."""

    answers: int = Field(8, ge=0, description="held-out questions answered, and rated, at each time of --watch")
    answer_tokens: int = Field(48, ge=1, description="longest of these answers, in tokens")


class AlignStableOptions(PolicyOptions):
    """Train a model on groups of rated answers by Stable Alignment (arXiv 2305.16960)."""

    weight: Number = Field(0.2, ge=0, description="λ, the weight of the contrast with worse responses; 0 is plain SFT")
    margin: Number = Field(1.0, ge=0, description="M, the margin at a rating difference of the whole scale")
    reduction: Literal["sum", "mean", "max"] = Field("sum", description="over a group's hinges")
    responses: int = Field(3, ge=1, description="K, responses of a group in one step: the best and others at random")


class AlignSftOptions(PolicyOptions):
    """Fine-tune a model on the best answer of every group, a baseline (TRL's SFTTrainer)."""


class AlignDpoOptions(PolicyOptions):
    """Train a model on pairs of a better and a worse answer by DPO or IPO, a baseline (TRL's DPOTrainer)."""

    loss: Literal["dpo", "ipo"] = Field("dpo", description="dpo (arXiv 2305.18290) or ipo (arXiv 2310.12036)")
    beta: Number = Field(0.1, gt=0, description="β, how strongly the model is held to the one it started from")


class AlignRlooOptions(PolicyOptions):
    """Train a model by reinforcement on its own answers, which --judge rates, a baseline (TRL's RLOOTrainer)."""

    beta: Number = Field(0.05, ge=0, description="β, the weight of the KL to the model it started from")
    generations: int = Field(4, ge=2, description="answers to a question in one step")
    completion_tokens: int = Field(64, ge=1, description="longest of them, in tokens")
    temperature: Number = Field(1.0, gt=0, description="temperature that they are sampled with")


class AlignRewardModelOptions(TrainingOptions):
    """Train a model that rates answers from 0 to 1, whose rewards don't collapse (arXiv 2305.17608)."""

    model: str = Field(
        "all-minilm-l6-v2",
        description="backbone: an encoder or a language model; the embedded ones, a folder or a hub name",
    )
    utility: str = Field(
        "prompt-aware",
        description="U of the gap between two rewards: prompt-aware (by each prompt's openness), x, x^0.5, log x, "
        "-x^-0.5, -1/x, logsigmoid(x), logsigmoid(4x); any number",
    )
    judge: str = Field(
        "embedding",
        description="a second observer, whom rewards are compared with: embedding, llm:verdict, llm:scale, "
        "reward-model:DIR",
    )


class IteratedOptions(StepOptions):
    """What a training has that learns from pairs of its own responses, iteration by iteration."""

    config: Path | None = Field(None, description="TOML file with any of these options")
    sources: CliPositionalArg[list[Path]] = Field(
        min_length=1,
        description="the first prompts: questions of run folders; JSON or JSONL files of {text}, {question} or "
        "{query}; text files with one a line",
    )
    model: str = Field("smollm2-135m-instruct", description="a hub name, a local folder or the embedded default")
    iterations: int = Field(2, ge=1, description="times that prompts are answered and learned from; more go on later")

    max_tokens: int = Field(128, ge=1, description="longest response, in tokens")
    temperature: Number = Field(0.8, gt=0, description="temperature that they are sampled with")
    top_p: Number = Field(0.95, gt=0, le=1, description="share of the probability that they are sampled from")
    judge_model: str | None = Field(None, description="model of an llm judge (the base that --model was trained from)")
    score_by: ScoreBy = Field(
        "alignment", description="what of a judge's ratings is the reward; product is √(alignment·engagement)"
    )
    system: str | None = Field(
        None, description='system message before every prompt, "" for none (a society\'s: one or two short sentences)'
    )
    max_length: int = Field(512, ge=2, description="tokens of prompt and response; a longer pair is left out")
    max_failures: Number = Field(0.05, ge=0, le=1, description="share of failed calls above which the training stops")

    optimiser: Literal["dpo", "simpo", "sppo", "orpo"] = Field(
        "dpo", description="how pairs are learned from (arXiv 2305.18290, 2405.14734, 2405.00675, 2403.07691)"
    )
    beta: Number | None = Field(None, gt=0, description="β of the optimiser, λ of orpo (as published, see docs/eva.md)")
    gamma: Number | None = Field(None, ge=0, description="γ of simpo, the margin that it wants between rewards (1)")
    delta: Number = Field(0.0, ge=0, description="responses whose rewards are this near make no pair")

    hard: Path | None = Field(None, description="file of harder prompts to measure on, never trained on")
    answers: int = Field(
        32, ge=0, description="held-out prompts, and hard ones, answered after every iteration, the first of each"
    )

    server: Names = Field([], description="address of an OpenAI-compatible server, http://HOST:PORT (repeatable)")
    engine: Literal["auto", "vllm", "local"] = Field(
        "auto", description="what runs a model that no server lists, as in simulate"
    )
    vllm_command: str | None = Field(None, description="how to start vLLM of another environment")


class AlignEvaOptions(IteratedOptions):
    """Train a model on pairs of its own answers, to prompts that evolve to where it can learn (arXiv 2411.00062)."""

    prompts: int | None = Field(
        None, ge=2, description="prompts of an iteration (all; with --curriculum fresh an equal part of them)"
    )
    curriculum: Literal["evolve", "sample", "static", "fresh"] = Field(
        "evolve",
        description="prompts after the first iteration: evolved from informative ones; informative ones themselves; "
        "the same again; further ones of the sources",
    )
    metric: Literal["max-min", "max-mean", "best-second", "variance", "mean", "uniform"] = Field(
        "max-min", description="what makes a prompt informative, of the rewards of the responses to it"
    )
    share: Number = Field(0.25, gt=0, le=1, description="share of an iteration's prompts that are chosen to evolve")
    greedy: CliImplicitFlag[bool] = Field(False, description="choose the most informative instead of drawing by it")
    evolutions: int = Field(5, ge=1, description="evolutions of each chosen prompt, before failed ones are left out")
    buffer: Number = Field(0.2, ge=0, lt=1, description="share of an iteration's prompts that are earlier ones")
    operators: Path | None = Field(None, description="TOML file of the operators that prompts evolve by (shipped ones)")
    creator_model: str | None = Field(None, description="model that evolves prompts (the one that is trained)")
    prompt_tokens: int = Field(128, ge=1, description="longest evolved prompt, in tokens, and in words with its parent")

    responses: int = Field(6, ge=2, description="responses to a prompt; the best and the worst are learned from")
    judge: str = Field(
        "llm",
        description="who gives rewards: llm (by the better reading there is), llm:verdict, llm:scale, embedding, "
        "reward-model:DIR",
    )


class ScheduleRow(TypedDict, total=False):
    """What one iteration of Meta-Rewarding trains: a row of the table [[schedule]]."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    actor: bool  # pairs of responses (true)
    judge: bool  # pairs of judgements (true)
    rho: Annotated[float, Field(ge=0, le=1)]  # ρ, how wide the tiers are that lengths are chosen in (0)
    max_judgement: Annotated[int, Field(ge=1)]  # characters of a chosen judgement, longer ones make no pair


class AlignMetaJudgeOptions(IteratedOptions):
    """Train a model as actor and as judge, on its own judgements of judgements (Meta-Rewarding, arXiv 2407.19594)."""

    iterations: int = Field(4, ge=1, description="times that prompts are answered and learned from; more go on later")
    prompts: int | None = Field(None, ge=1, description="prompts of an iteration, new ones in each (an equal part)")
    responses: int = Field(7, ge=2, description="K, responses to a prompt; repetitions are dropped")
    judgements: int = Field(11, ge=1, description="N, judgements of a response")
    judge_tokens: int = Field(256, ge=1, description="longest judgement or verdict, in tokens")
    max_length: int = Field(1024, ge=2, description="tokens of prompt and response; a longer pair is left out")
    judge: str = Field(
        "text",
        description="how responses are judged: text (the score that a judgement ends with), expected (its expected "
        "value), or by an observer who does not learn: llm:verdict, llm:scale, embedding, reward-model:DIR",
    )
    schedule: CliSuppress[list[ScheduleRow]] = Field(  # a table, so no flag
        default=[
            {"actor": True, "judge": True, "rho": 0.0},
            {"actor": True, "judge": True, "rho": 0.32},
            {"actor": True, "judge": False, "rho": 0.32},
            {"actor": True, "judge": False, "rho": 0.4},
        ],
        min_length=1,
        description="the rows [[schedule]] of --config, one an iteration: actor, judge, rho, max_judgement",
    )
    meta: CliImplicitFlag[bool] = Field(
        True, description="also learn from judgements; --no-meta is self-rewarding, with lengths controlled as well"
    )
    logged: CliImplicitFlag[bool] = Field(
        False, description="take the first iteration's responses from the runs among the sources"
    )
    observer: str = Field(
        "llm", description="who rates the answers that are measured, and gives no rewards: as --judge, or llm"
    )
    eft: Path | None = Field(
        None,
        description="judged answers that the model is first fine-tuned on, so that it knows a judgement's form: JSON "
        "Lines of prompt, response, judgement and score (0 to 5)",
    )
    eft_epochs: Number = Field(1.0, gt=0, description="times that each of them is met")
    eft_learning_rate: Number | None = Field(
        None, gt=0, description="learning rate of this fine-tuning (2e-5, with --lora 2e-4)"
    )
    reference: Path | None = Field(
        None, description="rated answers that the judge is compared with after every iteration"
    )
    reference_prompts: int = Field(32, ge=1, description="prompts of it that are used, drawn by --seed")


class AlignEvaluateOptions(ReadOptions):
    """Measure a model on what it was not trained on: how it reads rated answers, and what it answers itself."""

    model: CliPositionalArg[str] = Field(description="a folder, a hub name, or a model that a --server lists")
    sources: CliPositionalArg[list[Path]] = Field(
        [], description="what align stable reads: run folders, files of rated answers or of pairs (shipped pairs)"
    )
    against: str | None = Field(None, description="model to compare with (the base that MODEL was trained from)")
    measure: Names = Field(
        [], description="only this (repeatable): likelihood, abilities, tasks, answers, second-turn, adversarial (all)"
    )
    task: Names = Field(
        [],
        description="benchmark by lm-evaluation-harness (repeatable): abilities, bbq, ethics, hhh, moral_stories, "
        "pairs, truthfulqa_mc1, truthfulqa_mc2",
    )
    task_data: Path | None = Field(None, description="folder that holds the files of the benchmarks")
    task_items: int | None = Field(None, ge=1, description="items of each benchmark, evenly over its files (all)")
    include_trained: CliImplicitFlag[bool] = Field(
        False, description="also measure on queries that a model was trained on"
    )
    seed: int = Field(0, ge=0, description="decides which questions are answered, and how they are followed up")

    questions: str | None = Field(
        None,
        description='what is answered: "heldout", "everyday" or a file of {text} or {turns} (the sources\' queries; '
        "without sources heldout)",
    )
    answers: int = Field(32, ge=1, description="questions that are answered, drawn by --seed")
    max_tokens: int = Field(64, ge=1, description="longest answer, in tokens")
    temperature: Number = Field(0.0, ge=0, description="sampling temperature; 0 is greedy")
    judge: str = Field(
        "llm",
        description="who rates answers: llm (by the better reading there is), llm:verdict, llm:scale, embedding, "
        "reward-model:DIR",
    )
    judge_model: str | None = Field(
        None, description="model of an llm judge, and of the duels (the base that MODEL was trained from)"
    )
    encoder: str = Field(
        "all-minilm-l6-v2", description="sentence encoder of judge embedding and of the similarity of answers"
    )

    server: Names = Field([], description="address of an OpenAI-compatible server, http://HOST:PORT (repeatable)")
    engine: Literal["auto", "vllm", "local"] = Field(
        "auto", description="what runs a model that no server lists, as in simulate; likelihoods are read here always"
    )
    vllm_command: str | None = Field(None, description="how to start vLLM of another environment")
    json_out: Path | None = Field(None, description="file to write all numbers and every item to, as JSON")


class AlignCompareOptions(BaseSettings):
    """Compare trainings of one model on the same data, whatever their methods: quality, stability and cost."""

    model_config = OPTIONS

    sources: CliPositionalArg[list[Path]] = Field(description="folders that align wrote, the baseline first")
    plot: Path | None = Field(None, description="picture of all curves to write (.png, .svg or .pdf)")
    json_out: Path | None = Field(None, description="file to write all numbers to, as JSON")


class AlignVerifyOptions(BaseSettings):
    """Check what a trained model was made of, back to the lines of the transcripts."""

    model_config = OPTIONS

    model: CliPositionalArg[Path] = Field(description="folder that align wrote")
    sources: CliPositionalArg[list[Path]] = Field(
        [], description="the runs and files that it was made of, in their order (where they were then)"
    )
