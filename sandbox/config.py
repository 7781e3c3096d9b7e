"""Every option of `simulate` and `replay`, declared once, and the way that all commands read theirs.

An option comes from a flag, else from the TOML file named by `--config`, else from the settings of the run that goes on
(`simulate --resume`, `replay fork`), else from the environment (`SOCIAL_SANDBOX_SEED=3`), else from its default here.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliImplicitFlag,
    CliPositionalArg,
    CliSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from agents.errors import BadInput, first_fault

Settings = TypeVar("Settings", bound=BaseSettings)
Number = Annotated[float, Field(allow_inf_nan=False)]


def split_words(value: object) -> object:
    """`value`, or where it is a string the words between its commas."""
    return value.split(",") if isinstance(value, str) else value


FOUND = ("versions", "digests")  # tables of a run.toml that are no options

Layout = Literal["good", "bad", "half", "mixed"]
Names = Annotated[list[str], NoDecode, BeforeValidator(split_words)]
Words = Annotated[Names, Field(min_length=1)]
Paths = Annotated[list[Path], NoDecode, BeforeValidator(split_words)]
Layouts = Annotated[list[Layout], NoDecode, BeforeValidator(split_words), Field(min_length=1)]

OPTIONS = SettingsConfigDict(
    env_prefix="SOCIAL_SANDBOX_",
    extra="forbid",
    frozen=True,
    cli_kebab_case=True,
    cli_avoid_json=True,
    cli_hide_none_type=True,
    protected_namespaces=(),
)


class SimulateOptions(BaseSettings):
    """Play a society of language-model agents and write what they say to a run folder."""

    model_config = OPTIONS

    out: Path = Field(description="run folder to write, for example runs/first")
    resume: CliImplicitFlag[bool] = Field(
        False, description="go on with the run in --out, with its own settings where no others are given"
    )
    config: Path | None = Field(None, description="TOML file with any of these options")
    seed: int = Field(0, ge=0, description="decides every draw of the run")
    worlds: int = Field(
        1, ge=1, description="independent societies played at once, with seeds SEED, SEED+1, …, in OUT/world-00, …"
    )
    ray: str | None = Field(
        None, description='spread the worlds over the Ray cluster at this address ("auto", HOST:PORT, "local")'
    )

    size: int = Field(10, ge=2, description="side of the grid; size × size agents")
    rounds: int | None = Field(None, ge=1, description="rounds to play (3; with --until-plateau at most that many: 50)")
    until_plateau: CliImplicitFlag[bool] = Field(
        False, description="stop when revisions to a fixed set of probe questions no longer improve"
    )
    plateau_probes: int = Field(8, ge=1, description="probe questions asked again in every round")
    plateau_gain: Number = Field(0.1, ge=0, description="least rise of mean alignment × engagement that counts")
    plateau_patience: int = Field(2, ge=1, description="rounds without such a rise before stopping")

    questions: str = Field("everyday", description='"everyday" or "heldout" (shipped), or a JSON, JSONL or text file')
    share: int = Field(4, ge=1, description="agents that get the same question in a round")
    prior: Path | None = Field(None, description="JSON or JSONL of {question, response, morality_label} (shipped one)")
    stance: Layouts = Field(
        ["mixed"],
        description="how stances lie on the grid: good, bad, half (split by the diagonal), mixed (a random half); "
        "several: world by world",
    )
    stances: Paths = Field([], description="TOML file with stances of your own, replaces --stance; or one a world")
    memories: int = Field(50, ge=0, description="pairs of the prior that an agent is born with")
    memory_limit: int | None = Field(None, ge=1, description="most that an agent remembers; then it forgets")
    forget: Literal["oldest", "least-recalled"] = Field("oldest", description="what is forgotten first")
    recall: int = Field(3, ge=0, description="remembered pairs shown with a question")
    recall_threshold: Number = Field(0.3, ge=-1, le=1, description="least similarity of what is recalled")
    raters: int = Field(4, ge=0, description="neighbours that give feedback on a draft")
    radius: Number | None = Field(None, gt=0, description="Euclidean radius of the neighbourhood (half the size)")
    revisions: int = Field(1, ge=0, description="turns of feedback and revision; 0 asks for drafts only")
    rule: Paths = Field([], description="text file that replaces the Sandbox Rule; several: world by world")

    model: Names = Field(
        [],
        description="speaker: a model that a --server lists, a hub name or a folder; a mix by --model A=0.7 "
        "--model B=0.3 (the first listed one; without --server the embedded smollm2-135m-instruct)",
    )
    server: Names = Field([], description="address of an OpenAI-compatible server, http://HOST:PORT (repeatable)")
    timeout: Number = Field(300.0, gt=0, description="seconds that a server may take for a call")
    retries: int = Field(8, ge=0, description="further attempts of a call that a server failed")
    engine: Literal["auto", "vllm", "local"] = Field(
        "auto",
        description="what runs a model that no server lists; auto: vLLM, started for the run, where there is a GPU and "
        "vLLM, or a --vllm-command; else this process",
    )
    vllm_command: str | None = Field(
        None, description='how to start vLLM of another environment: "/there/bin/vllm serve"'
    )
    reading: Literal["verdict", "scale"] | None = Field(
        None, description="how peers' ratings are read (verdict, where the model tells words' probabilities)"
    )
    observer: Words = Field(
        ["llm", "embedding"],
        description="rater (repeatable): llm (by the better reading there is), llm:verdict, llm:scale, embedding, "
        "reward-model:DIR; the first scores",
    )
    observer_model: str | None = Field(
        None, description="model of the llm observer (the base that the first speaker was trained from)"
    )
    encoder: str = Field("all-minilm-l6-v2", description="sentence-transformers model of memory and embedding observer")
    max_tokens: int = Field(96, ge=1, description="longest draft or revision, in tokens")
    feedback_tokens: int = Field(32, ge=1, description="longest reason of a peer, in tokens")
    temperature: Number = Field(0.8, ge=0, description="sampling temperature; 0 is greedy")
    top_p: Number = Field(0.95, gt=0, le=1, description="nucleus of the sampling")
    max_failures: Number = Field(0.05, ge=0, le=1, description="share of failed calls above which a run stops")

    @property
    def round_limit(self) -> int:
        """How many rounds at most."""
        return self.rounds or (50 if self.until_plateau else 3)


class ReplayShowOptions(BaseSettings):
    """Write the report page of a run, or of each of its worlds."""

    model_config = OPTIONS

    run: CliPositionalArg[Path] = Field(description="run folder")
    open: CliImplicitFlag[bool] = Field(False, description="open the page, the first world's, in your browser")


class ReplayCompareOptions(BaseSettings):
    """Put a run beside others: paired by question (and by agent, where agents are asked the same), and by round."""

    model_config = OPTIONS

    runs: CliPositionalArg[list[Path]] = Field(description="two or more run folders; the first is the baseline")
    part: Literal["draft", "final"] = Field("draft", description="compare drafts or final answers")
    encoder: str = Field(
        "all-minilm-l6-v2",
        description='sentence-transformers model that the similarity of answers is measured with, or "none"',
    )
    plateau_gain: Number = Field(0.1, ge=0, description="least rise of mean alignment × engagement that counts")
    plateau_patience: int = Field(2, ge=1, description="rounds without such a rise that make a plateau")
    json_out: Path | None = Field(None, description="also write the comparison to this JSON file")
    plot: Path | None = Field(None, description="also draw the curves by round into this file: .png, .svg or .pdf")


class ReplayVerifyOptions(BaseSettings):
    """Play a run again from its transcript alone, without a language model, and compare every line."""

    # Its own variables: SOCIAL_SANDBOX_MODEL names a model.
    model_config = SettingsConfigDict(**{**OPTIONS, "env_prefix": "SOCIAL_SANDBOX_VERIFY_"})

    run: CliPositionalArg[Path] = Field(description="run folder")
    encoder: str = Field("all-minilm-l6-v2", description="sentence-transformers model that the run was made with")
    reward_model: Names = Field([], description="reward model that rated the run (repeatable): a folder or hub name")
    model: CliImplicitFlag[bool] = Field(
        False, description="also ask the run's models everything again and count the identical replies"
    )
    server: Names = Field([], description="where they are, if not where the run found them (repeatable)")


class ReplayForkOptions(SimulateOptions):
    """Go on from a moment of a run in a new one, by that run's settings where no others are given. What its agents
    were born with, and remember by, stays."""

    run: CliPositionalArg[Path] = Field(description="folder of the run to branch from")
    at: int = Field(ge=0, description="the last round that both runs share; 0 branches before the first")


def load(
    settings: type[Settings], argv: Sequence[str], *, prog: str, base: Mapping[str, Any] | None = None
) -> Settings:
    """The options of `settings` from flags, `--config` file, `base` and environment; raises BadInput in one line.

    `-h` prints the help and exits.
    """
    parser = _Parser(prog=prog, description=settings.__doc__, allow_abbrev=False, formatter_class=_help_formatter)

    class Sourced(settings):  # type: ignore[valid-type,misc]
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return flags, init_settings, env_settings

    flags: CliSettingsSource[Any] = CliSettingsSource(settings, root_parser=parser, case_sensitive=True)
    _tidy(parser)
    try:
        flags(args=list(argv))
    except SettingsError as error:
        raise BadInput(" ".join(str(error).split())) from error
    named = flags().get("config")
    if not named and not base and "config" in settings.model_fields:  # a run's settings come before the environment's
        named = os.environ.get("SOCIAL_SANDBOX_CONFIG")
    table = {**(base or {}), **(read_table(Path(named), settings) if named else {})}
    try:
        found = Sourced(**table).model_dump()
    except ValidationError as error:
        raise BadInput(_one_line(error, prog)) from error
    except SettingsError as error:  # of the environment
        raise BadInput(" ".join(str(error).split())) from error
    return settings.model_construct(**{name: found[name] for name in settings.model_fields})


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of an error message: what the unknown `name` may have meant, else all that is known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"


def read_table(path: Path, settings: type[BaseSettings]) -> dict[str, Any]:
    """The options in a TOML file. Raises BadInput: it can't be read, or has a key that is no option."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"--config {path}: no such file; name a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise BadInput(f"--config {path}: not readable as TOML ({error})") from error
    known = [name for name in settings.model_fields if name != "config"]
    for key in table:
        if key not in known and key not in FOUND:
            raise BadInput(f"--config {path}: unknown key {key!r}; {nearest(key, known)}")
    return {key: value for key, value in table.items() if key not in FOUND}


def _one_line(error: ValidationError, prog: str) -> str:
    first = error.errors()[0]
    match first["loc"]:
        case (table, int(row), str(key), *_):
            where = f"[[{table}]] row {row + 1}, {key}"
        case loc:
            where = "--" + "".join(map(str, loc[:1])).replace("_", "-")
    if first["type"] == "missing":
        return f"{where} is missing; `{prog} --help` lists the options"
    return f"{where}: {first_fault(error)[1]}, got {first['input']!r}"


class _Parser(argparse.ArgumentParser):
    """Raises one line in place of printing usage and exiting."""

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
            raise BadInput(f"unknown option {unknown[1]}; {nearest(unknown[1].split('=')[0], flags)}")
        raise BadInput(f"{message}; `{self.prog} --help` lists the options")


def _tidy(parser: argparse.ArgumentParser) -> None:
    """Help without Python's type names, and without defaults that say nothing."""
    names = {"int": "N", "float": "X", "str": "NAME", "Path": "PATH", "list[str]": "NAME", "list[Path]": "PATH"}
    for action in parser._actions:
        if isinstance(action.metavar, str):
            plain = action.metavar.removeprefix("list[").removesuffix("]") if "{" in action.metavar else action.metavar
            action.metavar = names.get(plain, plain)
        action.help = (action.help or "").replace(" (default: None)", "")


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=32, width=110)
