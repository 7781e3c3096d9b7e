"""An encoder whose vectors count words: texts with none in common differ, and one that goes on with another is near."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from sandbox.texts import words_of


class Words:
    """Takes the place of memory.encoder.Encoder."""

    digest = "words"
    dimension = 512

    def __init__(self, folder: object = None) -> None:
        pass

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.full((len(texts), self.dimension), 1e-6, np.float32)
        for row, text in zip(counts, texts, strict=True):
            for word in words_of(text):
                row[zlib.crc32(word.encode()) % self.dimension] += 1
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)
