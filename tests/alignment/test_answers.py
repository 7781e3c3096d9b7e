"""What a model answers in the middle of its training."""

import pytest
import torch

from agents.language_model import Message
from alignment.answers import Answer, fresh_answers


def queries(*texts):
    return [(Message("user", text),) for text in texts]


def test_answers_are_those_of_greedy_generation(model, tokenizer):
    model.generation_config.do_sample = False
    prompts = queries("May I?", "What about the cup?")
    for answer, prompt in zip(fresh_answers(model, tokenizer, prompts, 6), prompts, strict=True):
        chat = [{"role": turn.role, "content": turn.content} for turn in prompt]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        reply = model.eval().generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6)[0, ids.shape[1] :]
        assert answer.text == tokenizer.decode(reply, skip_special_tokens=True)
        assert answer.tokens == len(reply)
        assert answer.finished == (reply[-1] == tokenizer.eos_token_id)


def test_an_answer_is_finished_where_it_came_to_its_end(model, tokenizer):
    (cut,) = fresh_answers(model, tokenizer, queries("May I?"), 5)
    assert (cut.tokens, cut.finished) == (5, False)
    hidden = []
    model.model.norm.register_forward_hook(lambda _, args, output: hidden.append(output[0, -1]))
    fresh_answers(model, tokenizer, queries("May I?"), 1)
    with torch.no_grad():  # make the end of turn what comes first
        model.lm_head.weight[tokenizer.eos_token_id] = 100 * hidden[0]
    (ended,) = fresh_answers(model, tokenizer, queries("May I?"), 5)
    assert (ended.text, ended.tokens, ended.finished) == ("", 1, True)


def test_a_prompt_too_long_has_no_answer(model, tokenizer):
    none, answer = fresh_answers(model, tokenizer, queries("why " * 300, "May I?"), 4)
    assert none == Answer(None, None, None, "invalid")
    assert answer == fresh_answers(model, tokenizer, queries("May I?"), 4)[0]


@pytest.mark.parametrize("training", [True, False])
def test_asking_leaves_a_training_as_it_was(model, tokenizer, training):
    def gradients():
        model.zero_grad()
        ids = torch.tensor([[5, 6, 7, 8]])
        model(input_ids=ids, labels=ids).loss.backward()
        return [value.grad.clone() for value in model.parameters()]

    model.train(training)
    before, state = gradients(), torch.get_rng_state()
    fresh_answers(model, tokenizer, queries("May I?"), 3)
    assert model.training is training and all(part.training is training for part in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(new, old) for new, old in zip(gradients(), before, strict=True))
