"""One run from options to folder: its worlds are played, then come the dataset and the pages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from agents.errors import BadInput
from agents.models import encoder_folder
from memory.encoder import Encoder
from sandbox import dataset, transcript
from sandbox.agreement import agreements, ratings_of
from sandbox.config import SimulateOptions
from sandbox.console import say
from sandbox.folders import refuse_links
from sandbox.plan import Plan, plan
from sandbox.play import play
from sandbox.report.page import write_report
from sandbox.settings import write_settings
from sandbox.worlds import each_world


def run(options: SimulateOptions) -> list[Path]:
    """Play the run that `options` describe, or go on with it. Returns the folders of its worlds.

    Raises BadInput and TooManyFailures; what an interrupted run has written stays.
    """
    worlds = each_world(options)
    require_folder(options)
    return played(options, [plan(world) for world in worlds])


def played(options: SimulateOptions, plans: Sequence[Plan]) -> list[Path]:
    """Play these worlds of a run, write what is made of their transcripts, and return their folders."""
    encoder = Encoder(encoder_folder(options.encoder))
    worlds = [plan.options for plan in plans]
    if options.ray:
        from sandbox import cluster  # Ray is an extra

        cluster.play(options.ray, worlds)
    else:
        asyncio.run(play(options, plans, encoder))
    if options.worlds > 1:
        write_settings(options.out, options, transcript.read(worlds[0].out).header)
    export = dataset.export([options.out], options.out / "dataset", encoder)
    say(f"dataset {options.out / 'dataset'}: {export}")
    for world in worlds:
        say(closing(transcript.read(world.out)))
        write_report(world.out)
    return [world.out for world in worlds]


def require_folder(options: SimulateOptions) -> None:
    """Raises BadInput where `--out` can't hold this run."""
    out = options.out
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out}: is a file; name a folder")
    one, several = (out / transcript.FILE).exists(), len(transcript.world_folders(out))
    if options.resume:
        refuse_links(out)
        if not one and not several and not any((*out.glob("run.toml*"), *out.glob("world-*/run.toml*"))):
            raise BadInput(f"--resume: {out} holds no transcript; leave --resume out to start a run there")
        if (one or several) and (one != (options.worlds == 1) or several > options.worlds):
            found = "one world" if one else f"{several} worlds"
            raise BadInput(f"--resume: {out} holds a run of {found}, not of --worlds {options.worlds}; name as many")
    elif any(not path.is_dir() for path in out.rglob("*")):  # empty folders: a run broke off before its first file
        raise BadInput(f"--out {out}: the folder is in use; add --resume to go on with its run, or name another")


def closing(log: transcript.Transcript) -> str:
    """The last line that a world says: how far its observers agree."""
    found = agreements(ratings_of(log.interactions(), log.observers))
    told = [f"{dimension} {'–' if alpha is None else f'{alpha:.2f}'}" for dimension, alpha in found.items()]
    return f"observers' agreement (Krippendorff's alpha, ordinal): {', '.join(told)}"
