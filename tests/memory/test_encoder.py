from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memory.encoder import Encoder
from memory.memory import Memory, QuestionTable

TEXTS = [
    "Should I tell my sister that I broke her cup?",
    "I broke a plate of my sister's. Do I have to say so?",
    "How long does it take to cook rice?",
    "Hm?",
    "A stranger left a wallet on the bus, and there is a lot of money in it. What is the right thing to do now?",
]


@pytest.mark.slow
def test_vectors_are_unit_and_near_where_meaning_is_near(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.5 > 0.2 > similarity[0, 2]
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.slow
def test_a_text_gets_the_same_bits_in_any_company(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], together)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([text])[0], vector)


@pytest.mark.slow
def test_a_memory_over_real_vectors_recalls_the_same_event(encoder: Encoder) -> None:
    memory = Memory(QuestionTable(encoder, TEXTS))
    for place, text in enumerate(TEXTS[1:], start=1):
        memory.remember(text, f"answer {place}")
    recalled = memory.recall(TEXTS[0])
    assert [(r.question, r.answer) for r in recalled][-1] == (TEXTS[1], "answer 1")
    assert all(r.similarity >= 0.3 for r in recalled)


def test_the_digest_follows_contents_and_names_not_the_place(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> Encoder:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Encoder(tmp_path / name)

    files = {"model.safetensors": "weights", "config.json": "{}", "1_Pooling/config.json": "{}"}
    same = folder("a", files).digest
    assert same == folder("b", {**files, "README.md": "a card does not shape vectors"}).digest
    for file in files:
        assert folder(f"c-{file.replace('/', '-')}", {**files, file: "other"}).digest != same
    assert folder("d", {**files, "2_Dense/config.json": "{}"}).digest != same
