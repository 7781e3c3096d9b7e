"""A world on paper: what the options of a run and their files say, before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents import prompts
from agents.errors import BadInput
from agents.rows import read_text
from sandbox.config import SimulateOptions
from sandbox.header import probes_of, questions_of, stances_of
from sandbox.header_fields import require_header
from sandbox.interaction import Question
from sandbox.questions import load_questions, split_probes
from sandbox.settings import FILE as SETTINGS
from sandbox.settings import options_of
from sandbox.stances import Stances, load_prior, load_stances, named_stances
from sandbox.transcript import FILE, SCHEMA, header_in


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one world: `questions` rotate, `probes` come up in every round.

    A world that branches off another has that one as `parent` (docs/transcript.md, "header"), and its stances. Where
    its transcript is yet to begin, with rounds that the parent played, these stand in the transcript `history`.
    """

    options: SimulateOptions
    questions: tuple[Question, ...]
    probes: tuple[Question, ...]
    stances: Stances
    rule: str
    parent: Mapping[str, Any] | None = None
    history: Path | None = None


def plan(
    options: SimulateOptions,
    *,
    parent: Mapping[str, Any] | None = None,
    before: SimulateOptions | None = None,
    history: Path | None = None,
) -> Plan:
    """The plan of one world. One that goes on, by itself or from a `parent` that was played with `before`, takes what
    its options still name alike from the header, not from files, which may be others by now or elsewhere.

    Raises BadInput where options contradict each other or a file can't be used.
    """
    check(options)
    header = None if parent is None else parent["header"]
    if parent is None and options.resume and (header := _header_in(options.out)) is not None:
        parent = header["parent"]
        before = options_of(options.out) if (options.out / SETTINGS).is_file() else None

    def alike(*names: str) -> bool:
        return before is not None and all(getattr(options, name) == getattr(before, name) for name in names)

    if header is not None and alike("questions", "until_plateau", "plateau_probes", "size", "share", "seed"):
        questions, probes = questions_of(header), probes_of(header)
    else:
        questions, probes = _questions(options)
    if header is not None and (parent is not None or alike("prior", "stance", "stances", "size", "seed")):
        stances = stances_of(header)
    else:
        stances = _stances(options)
    rule = header["speech"]["rule"] if header is not None and alike("rule") else rule_of(options)
    return Plan(options, questions, probes, stances, rule, parent, history)


def check(options: SimulateOptions) -> None:
    """Refuse options that contradict each other."""
    if options.revisions and options.radius is not None and options.radius < 1:
        raise BadInput(f"--radius {options.radius:g}: nobody lives that near to give feedback; choose 1 or more")
    if options.revisions and not options.raters:
        raise BadInput("--raters 0: nobody gives feedback to revise by; add --revisions 0 to ask for drafts only")
    if options.memory_limit is not None and options.memory_limit < options.memories:
        raise BadInput(
            f"--memory-limit {options.memory_limit}: agents are born with --memories {options.memories}; "
            "raise the one or lower the other"
        )


def rule_of(options: SimulateOptions) -> str:
    """The Sandbox Rule of a world; raises BadInput where the file cannot be read or is empty."""
    if not options.rule:
        return prompts.SANDBOX_RULE
    (path,) = options.rule
    rule = read_text(path).strip()
    if not rule:
        raise BadInput(f"--rule {path}: the file is empty; write the rule into it")
    return rule


def _header_in(run: Path) -> Mapping[str, Any] | None:
    """The header of the run in a folder; None where it has not begun, or can't be gone on with."""
    header = header_in(run)
    if header is None or header.get("schema") != SCHEMA:
        return None
    require_header(run / FILE, {name: value for name, value in header.items() if name != "chain"})
    return header


def _questions(options: SimulateOptions) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    questions = load_questions(options.questions)
    if not options.until_plateau:
        return questions, ()
    probes, others = split_probes(
        questions, options.size**2, seed=options.seed, share=options.share, probes=options.plateau_probes
    )
    return others, probes


def _stances(options: SimulateOptions) -> Stances:
    prior = load_prior(options.prior)
    if options.stances:
        (path,) = options.stances
        return load_stances(path, prior, options.size, options.seed)
    (layout,) = options.stance
    return named_stances(prior, layout, options.size, options.seed)
