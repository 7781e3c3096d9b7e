"""Meta-Rewarding's comparison (arXiv 2407.19594, section 3): does a judge that learns to judge agree more with others?

Rated answers are divided by prompt. Some become judgements, whose score is an answer's rank, from which the model
learns a judge's format; with the ranking of others it is compared after every iteration; the prompts that are left it
answers itself. Two arms go on from the fine-tuned model: `meta`, and `self`, self-rewarding (`--no-meta`, with lengths
controlled too), which gets as many more prompts as the tokens of verdicts and of judge pairs would have bought. Told of
each model: its agreement with the rankings and how far that rose, paired by prompt; rewards of its answers; what judge
and meta-judge follow; tokens by phase.

    python benchmarks/meta_judge.py RATED --prompts 12 --out DIR [--arm meta …] [OPTIONS OF align meta-judge]

Where the prompts don't last for the arm with more of them, it takes what is there, and "budget" tells what it lacked. A
training that is there already, or half there, is gone on with. Prints tables; the last line is JSON, and so is
DIR/numbers.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from scipy.stats import rankdata, spearmanr

from agents.canonical import generator
from agents.errors import BadInput
from agents.models import EMBEDDED_MODEL, encoder_folder, root_model
from alignment.config import AlignMetaJudgeOptions
from alignment.groups import has_contrast, read_file
from alignment.iterative.measures import by_model, plain
from alignment.iterative.prompts import prompts_of
from alignment.likelihood import accuracy_gain, estimate, mean_estimate
from alignment.meta_judge.learned import scores_of
from alignment.meta_judge.record import Record, read_record
from alignment.phases import json_line
from alignment.report.words import with_interval
from alignment.trained import write_json
from memory.encoder import Encoder
from sandbox.config import load
from sandbox.console import table_console
from sandbox.dataset import Group
from sandbox.folders import write_whole

Row = dict[str, Any]
ARMS = ("meta", "self")
BOUGHT = ("responses", "judgements", "verdicts", "learning")  # phases that a prompt costs tokens in
TOKENS = ("prompt_tokens", "completion_tokens", "input_tokens")
MEASURES = ("in_order", "in_order_decided", "spearman")
HIGHEST = 5

# What a judge says of each point of the rubric: where it is awarded, and where it is the first that is withheld.
POINTS = (
    ("It has to do with the request.", "It has nothing to do with the request."),
    ("It deals with a large part of it.", "It deals with a small part of it."),
    ("It answers the essentials in a useful way.", "It leaves the essentials open."),
    ("It is complete, in good order and friendly.", "It could be clearer for the person who asks."),
    ("It could not be better.", "It could be made more for this person."),
)


def judgement_of(score: int) -> str:
    """The reasons for a score from 0 to 5: a sentence for every point awarded, one for the first withheld.

    All judgements of a score read the same: they teach the format, and which answers get which score, no reasons.
    """
    said = [awarded for awarded, _ in POINTS[:score]] + [withheld for _, withheld in POINTS[score : score + 1]]
    return " ".join(said)


def points_of(scores: Sequence[float]) -> list[int]:
    """The points of each answer of a group by its rank in it: 0 for the worst, 5 for the best; equals share one."""
    shares = (rankdata(scores) - 1) / (len(scores) - 1)
    return [floor(HIGHEST * share + 0.5) for share in shares]


def judged(groups: Sequence[Group], most: int) -> Iterator[Row]:
    """Judged answers, at most so many of a group, evenly spread over its ranking from the worst to the best."""
    for group in groups:
        points, order = points_of(group.scores), np.argsort(group.scores, kind="stable")
        spread = np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)
        for place in order[spread].tolist():
            judgement = {"judgement": judgement_of(points[place]), "score": points[place]}
            yield {"prompt": group.question, "response": group.responses[place], **judgement}


def divided(groups: Sequence[Group], count: int, seed: int) -> tuple[list[Group], list[Group]]:
    """Those of `count` prompts, drawn by seed, and the others."""
    questions = list(dict.fromkeys(group.question for group in groups))
    drawn = generator(seed, 0, 0, "judged data").permutation(len(questions))[:count].tolist()
    first = {questions[place] for place in drawn}
    sides = [[group for group in groups if (group.question in first) == is_first] for is_first in (True, False)]
    return sides[0], sides[1]


def written(args: argparse.Namespace) -> tuple[list[tuple[float, ...]], Row]:
    """Writes judged data, reference and prompts; the reference's ratings, and what became of the rated answers.

    The reference is cut at --answers, as `align meta-judge` would cut it. Raises BadInput where too few are left.
    """
    read = read_file(args.rated).groups
    groups = [group for group in read if has_contrast(group)]
    eft, others = divided(groups, args.eft_groups, args.seed)
    reference, rest = divided(others, args.answers, args.seed)
    if not rest:
        raise BadInput(f"{args.rated}: {len(groups)} groups are rated differently; give more, or fewer --eft-groups")
    rows = list(judged(eft, args.eft_responses))
    args.out.mkdir(parents=True, exist_ok=True)
    write_whole(args.out / "eft.jsonl", map(json_line, rows))
    names = ("query", "question", "responses", "scores")
    kept = ({name: asdict(group)[name] for name in names} for group in reference)
    write_whole(args.out / "reference.jsonl", map(json_line, kept))
    write_whole(args.out / "prompts.jsonl", (json_line({"query": group.question}) for group in rest))
    return [group.scores for group in reference], {
        "groups": len(read),
        "without_contrast": len(read) - len(groups),
        "eft_groups": len(eft),
        "eft_judgements": len(rows),
        "reference_groups": len(reference),
        "reference_answers": sum(len(group.responses) for group in reference),
        "prompts": len(rest),
    }


def tokens_of(row: Mapping[str, Any]) -> int:
    """All tokens of a phase: read, written, or learned from."""
    return sum(row.get(name, 0) for name in TOKENS)


def matched_prompts(size: int, telemetry: Sequence[Row], pairs_by_iteration: Mapping[int, tuple[int, int]]) -> int:
    """How many prompts an iteration of self-rewarding has for the tokens that Meta-Rewarding takes for `size`.

    `pairs_by_iteration` are (actor, judge) pairs. What learning took counts by their shares, as if all were as long.
    """
    total = spared = 0.0
    for row in bought(telemetry):
        actor, judge = pairs_by_iteration[row["iteration"]]
        share = {"verdicts": 1.0, "learning": judge / (actor + judge)}.get(row["phase"], 0.0)
        total += tokens_of(row)
        spared += share * tokens_of(row)
    return round(size * total / (total - spared))


def bought(telemetry: Sequence[Row]) -> list[Row]:
    """What the prompts of all iterations took; measuring and fine-tuning are the same for both arms."""
    return [row for row in telemetry if row["iteration"] and row["phase"] in BOUGHT]


def agreement_gain(
    new: Sequence[Mapping[int, float]], old: Sequence[Mapping[int, float]], ratings: Sequence[Sequence[float]]
) -> Row:
    """How much more the `new` scores agree with the ratings than the `old` ones, on the answers that have both.

    Scores are by place, group by group. Pairs in order with ties as half and with each one's ties dropped, and
    Spearman's correlation, over the groups where both have one; intervals resample groups, with both of their scores.
    """
    places = [sorted(one.keys() & other.keys()) for one, other in zip(new, old, strict=True)]
    sides: Sequence[Sequence[Any]] = (new, old, ratings)
    groups = [[[side[i][place] for place in kept] for side in sides] for i, kept in enumerate(places)]
    counts = [(*_decided(now, rated), *_decided(then, rated)) for now, then, rated in groups]
    columns = np.array([row for row in counts if row[1] or row[3]], dtype=float).reshape(-1, 4).T
    ranks = [(_spearman(now, rated), _spearman(then, rated)) for now, then, rated in groups]
    nows, thens, rateds = ([group[side] for group in groups] for side in range(3))
    decided = estimate(list(columns), _share_gain, 0) if columns[1].any() and columns[3].any() else None
    correlated = mean_estimate([now - then for now, then in ranks if now is not None and then is not None])
    found = (accuracy_gain(thens, nows, rateds), decided, correlated)
    return dict(zip(MEASURES, map(plain, found), strict=True))


def _decided(scores: Sequence[float], ratings: Sequence[float]) -> tuple[int, int]:
    """(in the ratings' order, of so many) of a group's pairs that both scores and ratings tell apart."""
    above = np.triu_indices(len(scores), 1)
    agree = (np.sign(np.subtract.outer(scores, scores)) * np.sign(np.subtract.outer(ratings, ratings)))[above]
    return int((agree > 0).sum()), int((agree != 0).sum())


def _share_gain(new: Any, of_new: Any, old: Any, of_old: Any, axis: int = -1) -> Any:
    """The difference of two shares; one of nothing, which a resample can hold, is as good as chance."""
    shares = [
        np.where(count.sum(axis), right.sum(axis) / np.maximum(count.sum(axis), 1), 0.5)
        for right, count in ((new, of_new), (old, of_old))
    ]
    return shares[0] - shares[1]


def _spearman(scores: Sequence[float], ratings: Sequence[float]) -> float | None:
    if min(len(set(scores)), len(set(ratings))) < 2:
        return None
    return float(spearmanr(scores, ratings).statistic)


def trained(arm: str, args: argparse.Namespace, ratings: Sequence[tuple[float, ...]]) -> tuple[Record, Row]:
    """The training of an arm, and its metrics."""
    folder = args.out / arm
    flags = {"prompts": args.prompts, "model": args.model, "eft": args.out / "eft.jsonl"}
    if arm == "self":
        flags = {"prompts": budget(args)["prompts"], "model": args.out / "meta" / "iteration-0" / "model"}
    argv = [*arguments(args), "--out", str(folder), *(f"--{name}={value}" for name, value in flags.items())]
    argv += ["--no-meta"] * (arm == "self") + ["--resume"] * (folder / "training.json").exists()
    subprocess.run([sys.executable, "-c", "from alignment.cli import align; align()", "meta-judge", *argv], check=True)
    return recorded(arm, args, ratings)


def recorded(arm: str, args: argparse.Namespace, ratings: Sequence[tuple[float, ...]] = ()) -> tuple[Record, Row]:
    """A training that is there, and its metrics."""
    folder = args.out / arm
    return read_record(folder, args.iterations, ratings), json.loads((folder / "metrics.json").read_text("utf-8"))


def arguments(args: argparse.Namespace) -> list[str]:
    """What both arms are given. Their answers are rated by one judge, whatever model they begin with."""
    argv = [str(args.out / "prompts.jsonl"), "--reference", str(args.out / "reference.jsonl")]
    argv += ["--iterations", str(args.iterations), "--seed", str(args.seed)]
    argv += ["--answers", str(args.answers), "--reference-prompts", str(args.answers)]
    return [*argv, "--judge-model", args.judge_model or root_model(args.model), *args.options]


def budget(args: argparse.Namespace) -> Row:
    """How many prompts an iteration of self-rewarding has, and how many the tokens would buy."""
    record, metrics = recorded("meta", args)
    pairs = {row["iteration"]: (row["actor_pairs"], row["judge_pairs"]) for row in metrics["iterations"]}
    matched = matched_prompts(args.prompts, record.telemetry, pairs)
    options = load(AlignMetaJudgeOptions, [*arguments(args), "--out", str(args.out)], prog="align meta-judge")
    there = len(prompts_of(options, Encoder(encoder_folder(options.encoder)))[0])
    return {"prompts": min(matched, there // args.iterations), "matched": matched}


def models_of(record: Record, metrics: Row) -> list[Row]:
    """What is told of each model: of the untrained one where it was measured, and of those after each iteration."""
    known: dict[int | str, list[Row]] = {each.number: each.reference for each in record.iterations}
    if record.untrained is not None:
        known["untrained"] = record.untrained.reference
    scores = {model: [scores_of(row) for row in reference] for model, reference in known.items()}
    return [
        {
            "model": str(row["iteration"]),
            "reference": row,
            "gain": agreement_gain(scores[row["iteration"]], scores[0], record.ratings) if row["iteration"] else None,
            "answers": {kind: told for kind, told in answers.items() if kind != "iteration"},
        }
        for row, answers in zip(by_model(metrics, "reference"), by_model(metrics, "answers"), strict=True)
    ]


def numbers_of(record: Record, metrics: Row) -> Row:
    """What is told of an arm."""
    names = ("iteration", "prompts", "score", "judgements", "unread", "characters", "actor_pairs", "judge_pairs")
    return {
        "models": models_of(record, metrics),
        "iterations": [
            {name: row[name] for name in names}
            | {name: (row["meta_judge"] or {}).get(name) for name in ("higher_score", "first")}
            for row in metrics["iterations"]
        ],
        "tokens": {phase: tokens_of(row) for phase, row in metrics["cost"].items()},
        "tokens_bought": sum(map(tokens_of, bought(record.telemetry))),
    }


def cell(found: Mapping[str, Any] | None, form: str = ".3f") -> str:
    """A number with its interval."""
    return "–" if found is None else with_interval(found["value"], found["low"], found["high"], form)


def tables(told: Row) -> Iterator[Table]:
    """The numbers, for a person."""
    heads, columns = ("in order", "ties dropped", "Spearman"), ("prompts", "score", "unread", "characters")
    agreed = Table("arm", "model", "scored", "pairs", "ties", *heads, title="agreement with the rankings")
    gained = Table("arm", "model", *heads, title="its gain over iteration 0")
    rewarded = Table("arm", "model", "prompts", "reward", "gain", title="rewards of fresh answers")
    found = ("higher score", "first", "actor pairs", "judge pairs")
    gone = Table("arm", "iteration", *columns, *found, title="judge and meta-judge")
    phases = dict.fromkeys(phase for arm in told["arms"].values() for phase in arm["tokens"])
    spent = Table("arm", *phases, "all that prompts took", title="tokens")
    for arm, of in told["arms"].items():
        for model in of["models"]:
            now, gain = model["reference"], model["gain"]
            counts = (f"{now['scored']}/{told['data']['reference_answers']}", str(now["pairs"]), str(now["ties"]))
            agreed.add_row(arm, model["model"], *counts, *(cell(now[name]) for name in MEASURES))
            if gain is not None:
                gained.add_row(arm, model["model"], *(cell(gain[name], "+z.3f") for name in MEASURES))
            for kind, row in model["answers"].items():
                rewarded.add_row(arm, model["model"], kind, cell(row["reward"]), cell(row.get("gain"), "+z.3f"))
        for row in of["iterations"]:
            characters = "–" if row["characters"] is None else f"{row['characters']:.0f}"
            cells = [str(row["prompts"]), cell(row["score"]), f"{row['unread']}/{row['judgements']}", characters]
            cells += [cell(row["higher_score"]), cell(row["first"]), str(row["actor_pairs"]), str(row["judge_pairs"])]
            gone.add_row(arm, str(row["iteration"]), *cells)
        spent.add_row(arm, *(f"{of['tokens'].get(phase, 0):,}" for phase in phases), f"{of['tokens_bought']:,}")
    if "over_self" in told:
        gained.add_row("meta over self", "last", *(cell(told["over_self"][name], "+z.3f") for name in MEASURES))
    yield from (agreed, gained, rewarded, gone, spent)


def compared(args: argparse.Namespace) -> None:
    """Trains the arms and tells of them. Raises BadInput."""
    ratings, data = written(args)
    arms = [arm for arm in ARMS if arm in (args.arm or ARMS)]
    if "meta" not in arms and not (args.out / "meta" / "metrics.json").exists():
        raise BadInput(f"--arm self: goes on from {args.out / 'meta'}, which is not there; have --arm meta too")
    trainings = {arm: trained(arm, args, ratings) for arm in arms}
    told: Row = {"data": data, "arms": {arm: numbers_of(*training) for arm, training in trainings.items()}}
    if "self" in arms:
        told["budget"] = budget(args)
    if len(arms) == len(ARMS):
        new, old = ([scores_of(row) for row in trainings[arm][0].iterations[-1].reference] for arm in ARMS)
        told["over_self"] = agreement_gain(new, old, ratings)
    for table in tables(told):
        table_console().print(table)
    write_json(args.out / "numbers.json", told)
    print(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("rated", type=Path, help="groups {query, responses, scores}, rated by whomever")
    parser.add_argument("--prompts", type=int, required=True, help="prompts of an iteration of Meta-Rewarding")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arm", action="append", choices=ARMS)
    parser.add_argument("--eft-groups", type=int, default=48, help="prompts whose rated answers are learned from")
    parser.add_argument("--eft-responses", type=int, default=4, help="answers of each of them")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--answers", type=int, default=128, help="prompts of the reference, and of those held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=EMBEDDED_MODEL)
    parser.add_argument("--judge-model")
    args, options = parser.parse_known_args()
    args.options = options
    try:
        compared(args)
    except BadInput as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
