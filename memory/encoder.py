"""Text to unit vectors, by a sentence-transformers model in a local folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

# In other company a text's vector differs by up to 1e-7; alone it always gets the same bits, at half the speed
# (on 2 AVX2 cores, busy ones: short texts 45 a second instead of 100, long ones 16 instead of 23).
BATCH_SIZE = 1
OWN_FILES = {"local_files_only": True, "trust_remote_code": False}  # of the folder: no hub, no code
WEIGHTS = {"use_safetensors": True}  # no pickle
SHAPES_VECTORS = ("*.safetensors", "*.json", "*.txt", "*.model")


class Encoder:
    """The model in `folder`. It is loaded at the first text; equal texts get bit-equal vectors in any company."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [N, D] of N texts; what is beyond the model's length (256 word pieces) is not seen."""
        vectors = self._model.encode(
            [*texts] or [""],  # the shape of nothing is not defined there
            batch_size=BATCH_SIZE,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)[: len(texts)]

    @cached_property
    def digest(self) -> str:
        """blake2b (128 bits, hexadecimal) of the names and contents of the weights and configuration files."""
        digest = hashlib.blake2b(digest_size=16)
        files = {path for pattern in SHAPES_VECTORS for path in self.folder.rglob(pattern)}
        for name, path in sorted((path.relative_to(self.folder).as_posix(), path) for path in files):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()

    @cached_property
    def _model(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer  # takes seconds to import
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            return SentenceTransformer(str(self.folder), device="cpu", model_kwargs=WEIGHTS, **OWN_FILES)
        finally:
            logging.enable_progress_bar()
