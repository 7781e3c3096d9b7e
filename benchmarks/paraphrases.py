"""From which similarity on are two questions the same one? What `PARAPHRASE` in sandbox/split.py is chosen by.

    python benchmarks/paraphrases.py [--questions FILE]… [--encoder NAME] [--out FILE.json]

A threshold should link a question to its paraphrases, or a test split holds what was trained on; and it should not link
different questions, or whole topics chain together and cannot be split. Two tables:

    paraphrases     24 shipped questions, told closely and freely in other words (paraphrases.jsonl): the share linked
    different       sets of questions, shipped ones and any --questions: the largest cluster that a threshold makes

The last line is both tables as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from agents.errors import BadInput
from agents.models import EMBEDDED_ENCODER, encoder_folder
from agents.rows import read_rows, text_field
from memory.encoder import Encoder
from sandbox.questions import SHIPPED, load_questions
from sandbox.split import PARAPHRASE

THRESHOLDS = (0.55, 0.60, 0.65, 0.70, 0.75)
PARAPHRASES = Path(__file__).with_suffix(".jsonl")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", action="append", default=[], metavar="FILE", help="another set, repeatable")
    parser.add_argument("--encoder", default=EMBEDDED_ENCODER)
    parser.add_argument("--out", type=Path, help="write the tables as JSON")
    options = parser.parse_args()
    try:
        found = measured([*SHIPPED, *options.questions], Encoder(encoder_folder(options.encoder)))
    except BadInput as error:
        print(f"paraphrases: {error}", file=sys.stderr)
        return 2
    text = json.dumps({"encoder": options.encoder, "chosen": PARAPHRASE, **found})
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def measured(sets: list[str], encoder: Encoder) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {"paraphrases": [], "different": []}
    columns = "".join(f"{f'at {threshold:.2f}':>9}" for threshold in THRESHOLDS)
    print(f"{'share linked':22} pairs   least  median    most{columns}")
    rows = read_rows(PARAPHRASES)
    questions = encoder.encode([text_field(place, row, "question") for place, row in rows])
    for kind in ("close", "free"):
        others = encoder.encode([text_field(place, row, kind) for place, row in rows])
        line = linked(kind, (questions * others).sum(axis=1))
        shares = "".join(f"{share:9.0%}" for share in line["linked"].values())
        print(f"{kind:22} {line['pairs']:5} {line['least']:7.3f} {line['median']:7.3f} {line['most']:7.3f}{shares}")
        tables["paraphrases"].append(line)
    print(f"\n{'largest cluster':22} questions   most similar  {columns}")
    for name in sets:
        texts = [question.text for question in load_questions(name)]
        line = clustered(Path(name).name, encoder.encode(texts))
        sizes = "".join(f"{size:9}" for size in line["largest"].values())
        print(f"{line['questions_of'][:22]:22} {line['questions']:9}   {line['most']:12.3f}  {sizes}", flush=True)
        tables["different"].append(line)
    return tables


def linked(kind: str, similarities: NDArray[np.float32]) -> dict[str, Any]:
    """How similar paraphrases are to their questions, and the share that each threshold links."""
    return {
        "kind": kind,
        "pairs": len(similarities),
        "least": round(float(similarities.min()), 4),
        "median": round(float(np.median(similarities)), 4),
        "most": round(float(similarities.max()), 4),
        "linked": {str(threshold): round(float((similarities >= threshold).mean()), 4) for threshold in THRESHOLDS},
    }


def clustered(name: str, vectors: NDArray[np.float32]) -> dict[str, Any]:
    """How similar different questions come, and the largest cluster at each threshold."""
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -1)
    return {
        "questions_of": name,
        "questions": len(vectors),
        "most": round(float(similarities.max()), 4),
        "largest": {str(threshold): largest(similarities >= threshold) for threshold in THRESHOLDS},
    }


def largest(links: NDArray[np.bool_]) -> int:
    _, clusters = connected_components(links, directed=False)
    return max(Counter(clusters.tolist()).values())


if __name__ == "__main__":
    sys.exit(main())
