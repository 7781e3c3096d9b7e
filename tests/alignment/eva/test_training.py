"""`align eva`, called: two iterations from the first prompts to the last model, by every way to go."""

import json
import shutil
import sys
from collections import Counter
from itertools import count
from statistics import fmean, pvariance

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents.batching import Batcher
from agents.models import load_model
from alignment.eva.curriculum import lineage_of
from alignment.eva.record import read_record
from alignment.iterative.prompts import Task
from tests.alignment.eva.conftest import argv_of, begun
from tests.alignment.iterated import PROMPTS, align, kept, rows, unmoved, weights
from tests.fakes.faults import Status
from tests.fakes.mock_server import MockServer

TRAINED = 8  # of the twelve prompts: four are held out


@pytest.fixture
def eva(tmp_path, judging_model, server):
    """Calls `align eva` in `tmp_path` by the small settings, or others."""
    begun(tmp_path)

    def eva(*sources, **options):
        return align(tmp_path, *argv_of(*sources, **{"model": judging_model, "server": server.url, **options}))

    return eva


# The whole of it.


@pytest.fixture(scope="module")
def trained(tmp_path_factory, judging_model):
    """Two iterations, with harder prompts to measure on: the folder, and what was said. Tests leave it as it is."""
    folder = begun(tmp_path_factory.mktemp("eva"))
    (folder / "hard.jsonl").write_text("".join(json.dumps({"text": f"Prove that {n} is odd."}) + "\n" for n in "135"))
    with MockServer() as server:
        argv = argv_of(model=judging_model, server=server.url, hard="hard.jsonl", test_share=0.25)
        done = align(folder, *argv, report=True)
    assert done.code == 0, done.err
    return folder / "trained", done


def test_two_iterations_from_prompts_to_a_model(trained, judging_model):
    folder, done = trained
    for number in (1, 2):
        part = folder / f"iteration-{number}"
        tasks = [Task(**row) for row in rows(part / "prompts.jsonl")]
        responses, rewards, pairs = (rows(part / f"{name}.jsonl") for name in ("responses", "rewards", "pairs"))
        assert [row["id"] for row in responses] == [row["id"] for row in rewards] == [task.id for task in tasks]
        assert {
            (len(row["responses"]), len(given["rewards"])) for row, given in zip(responses, rewards, strict=True)
        } == {(3, 3)}
        assert len({reply["text"] for row in responses for reply in row["responses"]}) > 2 * len(tasks)
        said = {
            task.id: (task, row["responses"], given["rewards"])
            for task, row, given in zip(tasks, responses, rewards, strict=True)
        }
        assert 2 <= len(pairs) <= len(tasks)
        for pair in pairs:
            task, replies, known = said[pair["id"]]
            numbers = [reward for reward in known if reward is not None]
            assert pair["scores"] == [max(numbers), min(numbers)]
            assert pair["responses"] == [replies[known.index(score)]["text"] for score in pair["scores"]]
            assert [turn["content"] for turn in pair["query"]][-1] == task.text
            assert [turn["role"] for turn in pair["query"]] == ["system", "user"]
    assert unmoved(weights(judging_model), weights(folder / "iteration-1/model")) == []
    assert unmoved(weights(folder / "iteration-1/model"), weights(folder / "iteration-2/model")) == []
    assert (folder / "model.safetensors").read_bytes() == (folder / "iteration-2/model/model.safetensors").read_bytes()
    losses = [row["loss"] for row in rows(folder / "iteration-2/model/trainer_log.jsonl")]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3), "the reference is not the model that the iteration began with"
    assert "after iteration" in done.out and "measured on 2 held-out and 2 hard ones" in done.err
    for model in (folder, folder / "iteration-1/model"):
        verified = align(folder.parent, "verify", model)
        assert verified.code == 0, verified.err
        assert "verified" in verified.out


def test_prompts_evolve_from_informative_ones_and_mix_with_earlier_ones(trained):
    folder, done = trained
    first, second = (rows(folder / f"iteration-{number}/prompts.jsonl") for number in (1, 2))
    held = {row["question"] for row in rows(folder / "iteration-0/answers.jsonl") if row["set"] == "held-out"}
    assert len(first) == len(second) == TRAINED
    assert {row["text"] for row in first} | held <= set(PROMPTS) and not {row["text"] for row in first} & held
    assert [row["id"] for row in first] == [f"1-{number}" for number in range(1, TRAINED + 1)]
    evolved = rows(folder / "iteration-2/evolved.jsonl")
    parents = list(dict.fromkeys(row["parent"] for row in evolved))
    assert len(parents) == round(0.5 * TRAINED) and len(evolved) == 3 * len(parents)
    rewards = {row["id"]: row["rewards"] for row in rows(folder / "iteration-1/rewards.jsonl")}
    for row in evolved:
        assert row["informativeness"] == max(rewards[row["parent"]]) - min(rewards[row["parent"]])
        assert (row["other"] is not None) == (row["operator"] == "mix")
        assert (row["id"] is None) == (row["flaw"] is not None)
    assert set(Counter(row["operator"] for row in evolved).values()) == {len(parents)}
    kept_ids = [row["id"] for row in evolved if row["id"]]
    assert kept_ids == [f"2-{number}" for number in range(1, len(kept_ids) + 1)]
    assert f"{len(kept_ids)} of {len(evolved)} evolved prompts kept" in done.err
    new = [row for row in second if row["born"] == 2]
    assert len(new) == min(round(0.8 * TRAINED), len(kept_ids)) and [row["id"] for row in new] == kept_ids[: len(new)]
    texts = {row["id"]: row["text"] for row in first}
    for row in new:
        assert row["text"].startswith(texts[row["parent"]]) or row["operator"] == "free"
        assert lineage_of(Task(**row), [Task(**each) for each in first])[0].id == row["parent"]
    assert [row for row in second if row["born"] == 1] == [row for row in first if row in second]


def test_every_model_answers_what_is_never_trained_on(trained, judging_model):
    folder, _ = trained
    answers = [rows(folder / f"iteration-{number}/answers.jsonl") for number in range(3)]
    asked = [[(row["set"], row["question"]) for row in each] for each in answers]
    assert asked[0] == asked[1] == asked[2] and Counter(kind for kind, _ in asked[0]) == {"held-out": 2, "hard": 2}
    assert all(row["outcome"] == "ok" and row["reward"] for each in answers for row in each)
    assert len({tuple(row["text"] for row in each) for each in answers}) == 3, "the answers did not change"
    metrics = json.loads((folder / "metrics.json").read_text())
    for number, told in enumerate(metrics["answers"]):
        for kind in ("held-out", "hard"):
            mine = [row["reward"] for row in answers[number] if row["set"] == kind]
            assert told[kind]["reward"]["value"] == pytest.approx(sum(mine) / 2)
            assert told[kind]["worst"]["value"] == min(mine)
    assert [each["prompts"] for each in metrics["iterations"]] == [TRAINED, TRAINED]
    assert set(metrics["cost"]) == {"answers", "responses", "rewards", "learning", "evolving"}
    assert metrics["cost"]["responses"]["calls"] == 2 * TRAINED * 3
    record = read_record(folder, 2)
    assert [each.learned["rows"] for each in record.iterations[1:]] == [
        len(each.pairs) for each in record.iterations[1:]
    ]


def test_the_folder_is_a_model_like_any_other(trained, judging_model):
    folder, _ = trained
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert unmoved(dict(model.state_dict()), weights(folder)) == [*model.state_dict()]
    assert (
        AutoTokenizer.from_pretrained(folder).chat_template
        == AutoTokenizer.from_pretrained(judging_model).chat_template
    )
    assert load_model(str(folder), Batcher()).name == "trained"
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage["base_model"] == lineage["root_model"] == str(judging_model)
    second = json.loads((folder / "iteration-2/model/lineage.json").read_text())
    assert second["base_model"] == str((folder / "iteration-1/model").resolve())
    assert second["root_model"] == str(judging_model)


def test_a_changed_pair_is_found_by_verify(trained, tmp_path):
    folder, _ = trained
    changed = tmp_path / "pairs.jsonl"
    changed.write_text((folder / "iteration-1/pairs.jsonl").read_text().replace("Should you", "Must you", 1))
    done = align(folder.parent, "verify", folder, changed, folder / "iteration-2/pairs.jsonl")
    assert done.code == 1 and "pairs.jsonl: is not the file that was read, or was changed since" in done.err


# Ways to go.


@pytest.mark.parametrize("curriculum", ["sample", "static", "fresh"])
def test_prompts_that_do_not_evolve(eva, tmp_path, curriculum):
    done = eva(curriculum=curriculum, creator_model=None)
    assert done.code == 0, done.err
    first, second = (rows(tmp_path / f"trained/iteration-{number}/prompts.jsonl") for number in (1, 2))
    assert len(first) == len(second) and not (tmp_path / "trained/iteration-2/evolved.jsonl").exists()
    texts, later = ([row["text"] for row in each] for each in (first, second))
    if curriculum == "static":
        assert first == second
    elif curriculum == "fresh":
        assert not set(texts) & set(later) and {row["born"] for row in second} == {2}
    else:
        old = len(first) - round(0.8 * len(first))
        assert set(later) <= set(texts) and len(set(later[:-old])) == round(0.5 * len(first))
    keys = {
        reply["text"] for row in rows(tmp_path / "trained/iteration-2/responses.jsonl") for reply in row["responses"]
    }
    assert len(keys) > 2 * len(second), "a prompt that is met again is answered anew"


def test_the_model_evolves_prompts_itself(eva, tmp_path):
    done = eva(creator_model=None, server=None, operators=None, max_tokens=4, prompt_tokens=12, responses=2)
    replies = rows(tmp_path / "trained/iteration-2/replies.jsonl")
    assert {row["outcome"] for row in replies} == {"ok"} and len(replies) == 12
    # What a random model says is seldom a prompt; then the training ends in one line, and can be looked at.
    assert done.code == 0 or "evolved prompts can be used" in done.refused


@pytest.mark.parametrize("optimiser", ["dpo", "simpo", "sppo", "orpo"])
@pytest.mark.parametrize("lora", [False, True])
def test_every_optimiser_moves_the_model(eva, tmp_path, judging_model, optimiser, lora):
    gamma = 0.5 if optimiser == "simpo" else None
    done = eva(
        optimiser=optimiser, iterations=1, lora=lora, gamma=gamma, test_share=0, beta=0.3, epochs=4, learning_rate=3e-3
    )
    assert done.code == 0, done.err
    stay = unmoved(weights(judging_model), weights(tmp_path / "trained"))
    assert stay == ([name for name in stay if "proj" not in name] if lora else [])
    assert (tmp_path / "trained/iteration-1/model/adapter/adapter_model.safetensors").exists() == lora
    losses = [row["loss"] for row in rows(tmp_path / "trained/iteration-1/model/trainer_log.jsonl")]
    assert len(losses) == 12 and fmean(losses[-3:]) < fmean(losses[:3])  # of the last pass and of the first one
    assert not (tmp_path / "trained/iteration-0/answers.jsonl").exists(), "nothing is held out, so nothing is asked"
    assert "after iteration" not in done.out


def test_rewards_by_another_rating_and_parents_chosen_greedily(eva, tmp_path):
    options = {"share": 0.2, "test_share": 0, "metric": "variance"}
    for score_by in ("alignment", "engagement", "product"):
        assert eva(out=score_by, score_by=score_by, iterations=1, test_share=0).code == 0
    one, other, both = (
        rows(tmp_path / name / "iteration-1/rewards.jsonl") for name in ("alignment", "engagement", "product")
    )
    for row, second, product in zip(one, other, both, strict=True):
        for a, e, both_of in zip(row["rewards"], second["rewards"], product["rewards"], strict=True):
            assert (a is e is both_of is None) or (both_of == pytest.approx((a * e) ** 0.5) and a != e)
    done = eva(out="greedy", greedy=True, **options)
    assert done.code == 0, done.err
    rewards = rows(tmp_path / "greedy/iteration-1/rewards.jsonl")
    variance = {row["id"]: pvariance([reward for reward in row["rewards"] if reward is not None]) for row in rewards}
    parents = {row["parent"]: row["informativeness"] for row in rows(tmp_path / "greedy/iteration-2/evolved.jsonl")}
    assert list(parents) == sorted(variance, key=lambda id: -variance[id])[:2]
    assert all(value == pytest.approx(variance[id]) for id, value in parents.items())


def test_the_embedding_judges_and_a_system_message_may_be_left_out(eva, tmp_path):
    done = eva(judge="embedding", iterations=1, system="")
    assert done.code == 0, done.err
    assert {len(row["query"]) for row in rows(tmp_path / "trained/iteration-1/pairs.jsonl")} == {1}


def test_prompts_of_a_run_are_its_questions_and_hard_ones_are_never_trained_on(eva, tmp_path):
    (tmp_path / "hard.txt").write_text("\n".join(PROMPTS[:4]))
    (tmp_path / "more.jsonl").write_text(json.dumps({"text": PROMPTS[5], "topic": "home"}) + "\n")
    done = eva("more.jsonl", "prompts.txt", hard="hard.txt", iterations=1, test_share=0, prompts=5)
    assert done.code == 0, done.err
    assert "8 prompts, 5 of them an iteration; measured on 0 held-out and 2 hard ones" in done.err
    met = {row["text"] for row in rows(tmp_path / "trained/iteration-1/prompts.jsonl")}
    assert len(met) == 5 and met <= set(PROMPTS[4:])
    (tmp_path / "hard.txt").write_text("\n".join(PROMPTS[1:5]))
    refused = eva("more.jsonl", "prompts.txt", hard="hard.txt", test_share=0, prompts=5, resume=True).refused
    assert "the rows are others than those that the training began with; give the same --hard, or" in refused


def test_prompts_that_leave_no_room_for_a_response_are_left_out_and_told(eva, tmp_path):
    long = [f"{prompt} {'And then? ' * 90}" for prompt in PROMPTS[:4]]
    (tmp_path / "long.txt").write_text("\n".join([*long, *PROMPTS[4:]]))
    done = eva("long.txt", iterations=1, test_share=0, max_length=160)
    assert done.code == 0, done.err
    asked = [row["query"][-1]["content"] for row in rows(tmp_path / "trained/iteration-1/pairs.jsonl")]
    left_out = [text for text in asked if len(text) > 500]
    assert len(left_out) > 1 and f"learning: {len(left_out)} rows left out, for which --max-length" in done.err
    learned = json.loads((tmp_path / "trained/iteration-1/model/learned.json").read_text())
    assert learned["dropped"] == len(left_out)


# The same again, and more of it.


def same(one, two):
    """Fails naming the first file that differs."""
    for name in one:
        assert one[name] == two[name], name
    assert one.keys() == two.keys()


def test_equal_options_give_equal_files(eva, tmp_path):
    for name in ("one", "two"):
        assert eva(out=name).code == 0
    one, two = (kept(tmp_path / name) for name in ("one", "two"))
    same(one, two)
    other = eva(out="three", seed=1, iterations=1)
    assert other.code == 0, other.err
    assert kept(tmp_path / "three")["iteration-1/responses.jsonl"] != one["iteration-1/responses.jsonl"]


@pytest.mark.parametrize("curriculum", ["evolve", pytest.param("static", marks=pytest.mark.slow)])
def test_a_finished_training_goes_on_as_one_that_was_longer_from_the_start(eva, tmp_path, curriculum):
    done = eva(out="short", curriculum=curriculum)
    assert done.code == 0, done.err
    before = {path: path.read_bytes() for path in (tmp_path / "short").glob("iteration-*/**/*") if path.is_file()}
    short = kept(tmp_path / "short")
    done = eva(out="short", curriculum=curriculum, iterations=3, resume=True)
    assert done.code == 0, done.err
    for path, content in before.items():
        assert path.read_bytes() == content, path
    assert short["model.safetensors"] != kept(tmp_path / "short")["model.safetensors"]
    assert eva(out="long", curriculum=curriculum, iterations=3).code == 0
    same(kept(tmp_path / "short"), kept(tmp_path / "long"))


def test_a_finished_training_that_is_resumed_stays_as_it_is(eva, tmp_path, server):
    assert eva(iterations=1).code == 0
    before, asked = kept(tmp_path / "trained"), server.counters.requests
    assert eva(iterations=1, resume=True).code == 0
    assert kept(tmp_path / "trained") == before and server.counters.requests == asked


def test_another_training_is_not_gone_on_with(eva, tmp_path, judging_model):
    assert eva(iterations=2, curriculum="static").code == 0
    before = kept(tmp_path / "trained")

    def refused(**options):
        line = eva(**{"curriculum": "static", "iterations": 3, **options}).refused
        assert kept(tmp_path / "trained") == before
        return line

    assert "trained: holds a training; go on with --resume, or name another folder" in refused()
    assert "begun with --responses 3, not --responses 4; give it that again" in refused(responses=4, resume=True)
    assert "begun with --curriculum static, not --curriculum evolve" in refused(curriculum="evolve", resume=True)
    assert "--iterations 1: trained has begun 2; name as many, or more" in refused(iterations=1, resume=True)
    prompts = (tmp_path / "prompts.txt").read_text()
    (tmp_path / "prompts.txt").write_text(prompts.replace("ladder", "hammer"))
    told = "the rows are others than those that the training began with; give the same sources, or"
    assert told in refused(resume=True)
    (tmp_path / "prompts.txt").write_text(prompts)
    copy = shutil.copytree(judging_model, tmp_path / "other")
    (copy / "generation_config.json").write_text('{"temperature": 0.5, "do_sample": true}')
    assert "the files of --model are others than those" in refused(model=copy, resume=True)
    assert eva(curriculum="static", iterations=3, resume=True, max_failures=0.5).code == 0


# What can't be done.


@pytest.mark.parametrize(
    ("sources", "options", "told"),
    [
        ([], {"judge": "me"}, "--judge me: unknown judge; known: llm, llm:verdict, llm:scale, embedding"),
        (["nothing.txt"], {}, "nothing.txt: no such file or run; shipped sets of prompts are everyday and heldout"),
        ([], {"hard": "nothing.txt"}, "nothing.txt: no such file or run"),
        ([], {"prompts": 11}, "--prompts 11: 2 iterations by --curriculum evolve need 11 prompts, and"),
        ([], {"curriculum": "fresh", "iterations": 9}, "9 iterations by --curriculum fresh need 18 prompts"),
        ([], {"gamma": 0.5}, "--gamma: dpo has none; leave it out, or choose --optimiser simpo"),
        ([], {"config": "trainer.toml"}, "[trainer]: unknown key 'warmup'"),
        ([], {"operators": "nothing.toml"}, "nothing.toml: no such file"),
        ([], {"resume": True}, "--resume: trained holds no training; leave --resume out to start one"),
        ([], {"creator_model": "nobody"}, "--model nobody: no --server lists it"),
        ([], {"model": "nobody"}, "nobody"),
        ([], {"judge": "reward-model:nothing"}, "nothing"),
        (["alike.txt"], {}, "--test-share 0.2: the 2 prompts are all alike and cannot be divided; give more"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_before_anything_is_written(eva, tmp_path, sources, options, told):
    (tmp_path / "trainer.toml").write_text("[trainer]\nwarmup = 3\n")
    (tmp_path / "alike.txt").write_text("Should you sing?\nShould you sing!\n")
    assert told in eva(*sources, **options).refused
    assert not list(tmp_path.glob("*trained*"))


def test_a_judge_without_words_is_refused_before_anything_is_written(eva, small_model, tmp_path):
    assert "--judge llm:verdict: " in eva(judge_model=small_model).refused
    assert not list(tmp_path.glob("*trained*"))


def test_a_used_folder_is_refused(eva, tmp_path):
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained/mine.txt").touch()
    assert "--out trained: is in use; name another folder" in eva().refused
    assert [path.name for path in (tmp_path / "trained").iterdir()] == ["mine.txt"]


def test_without_trl_it_says_what_to_install(eva, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    assert "training needs trl: pip install 'social-sandbox[align]'" in eva().refused


def test_rewards_that_are_all_equal_teach_nothing(eva):
    told = eva(delta=6).refused
    assert "no two responses to any of" in told and "by more than --delta 6; sample more of them" in told
    again = eva(delta=6, resume=True).refused
    assert again.removeprefix("align: ") == told.removeprefix("align: ")


def test_where_no_evolution_can_be_used_it_says_why(eva, tmp_path):
    (tmp_path / "operators.toml").write_text('[same]\nkind = "depth"\nask = "{prompt}"\nstart = "{prompt}"\n'.replace(
        'start = "{prompt}"', "start = '\"'"
    ))  # fmt: skip
    told = eva(prompt_tokens=2).refused
    assert "evolved prompts can be used (" in told and "with a better --creator-model" in told


# A server that fails.


def fails(about, which):
    """A plan: of the requests whose messages hold the text `about`, those with such numbers, from 0, are refused."""
    seen = count()

    def fault(number, body):
        concerned = any(about in message["content"] for message in body["messages"])
        return Status(400, "out of order") if concerned and which(next(seen)) else None

    return fault


def never(number):
    return False


@pytest.mark.parametrize("answered", [0, 5])
def test_a_creator_that_fails_too_much_is_gone_on_with_and_nothing_stays_failed(eva, tmp_path, server, answered):
    assert eva(out="whole").code == 0
    server.behaviour.faults = fails("Make", lambda number: number >= answered)
    done = eva(out="cut", max_failures=0.1)
    assert done.code == 3, done.err
    told = done.err.splitlines()[-1]
    assert "calls failed (refused: " in told and "more than --max-failures 0.1 allows; mend the cause" in told
    assert "Traceback" not in done.err
    there = [row["outcome"] for row in rows(tmp_path / "cut/iteration-2/replies.jsonl")]
    assert set(there) <= {"ok", "refused"} and there.count("ok") <= answered and len(there) < 12
    server.behaviour.faults = fails("Make", never)
    done = eva(out="cut", resume=True)
    assert done.code == 0, done.err
    same(kept(tmp_path / "whole"), kept(tmp_path / "cut"))
    evolving = [row["calls"] for row in rows(tmp_path / "cut/telemetry.jsonl") if row["phase"] == "evolving"]
    assert evolving[-1] == 12 - there.count("ok")


def test_failures_within_the_quota_stay_and_are_counted(eva, tmp_path, server):
    server.behaviour.faults = fails("Make", lambda number: number in (2, 5))
    done = eva(max_failures=0.5)
    assert done.code == 0, done.err
    evolved = rows(tmp_path / "trained/iteration-2/evolved.jsonl")
    assert [(row["id"], row["text"]) for row in evolved if row["flaw"] == "refused"] == [(None, None)] * 2
    assert "2 refused" in done.err
    before = kept(tmp_path / "trained")
    assert eva(resume=True, max_failures=0.5).code == 0
    same(before, kept(tmp_path / "trained"))


def test_a_judge_that_fails_too_much_stops_the_training_and_is_asked_again(eva, tmp_path, server):
    options = {"judge_model": "mock", "iterations": 1, "answers": 0}
    assert eva(out="whole", **options).code == 0
    server.behaviour.faults = fails("Should you", lambda number: number >= 7)
    done = eva(out="cut", **options, max_failures=0.2)
    assert done.code == 3, done.err
    path = tmp_path / "cut/iteration-1/rewards.jsonl"
    assert len(rows(path)) < 8
    first, *_ = rows(tmp_path / "whole/iteration-1/rewards.jsonl")
    path.write_text(json.dumps({**first, "rewards": [None, *first["rewards"][1:]]}) + "\n")  # within the quota
    server.behaviour.faults = fails("Should you", never)
    done = eva(out="cut", **options, resume=True)
    assert done.code == 0, done.err
    same(kept(tmp_path / "whole"), kept(tmp_path / "cut"))


def test_a_torn_line_of_telemetry_is_dropped(eva, tmp_path):
    assert eva(iterations=1, test_share=0).code == 0
    file = tmp_path / "trained/telemetry.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    done = eva(iterations=2, test_share=0, resume=True)
    assert done.code == 0, done.err
    assert [row["phase"] for row in rows(file)][:3] == ["responses", "rewards", "evolving"]
