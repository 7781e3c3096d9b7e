"""The worlds of a run on a Ray cluster, one task a world; importing this raises BadInput where Ray is not installed.

Every node needs this package in its environment, and the run's folder and working folder under the same paths.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

from agents.errors import BadInput, TooManyFailures
from agents.models import CACHE_VARIABLE, encoder_folder
from agents.server import KEY_VARIABLE
from memory.encoder import Encoder
from sandbox.config import SimulateOptions
from sandbox.console import say
from sandbox.plan import plan
from sandbox.play import play as play_worlds

try:
    import ray
except ImportError:
    raise BadInput("--ray: needs Ray; pip install 'social-sandbox[ray]'") from None

MOST_LOSSES = 3  # of a world's workers, before the run gives the world up
REACH_SECONDS = 5.0  # Ray itself would wait for minutes for a cluster that isn't there
HANDED_ON = (KEY_VARIABLE, CACHE_VARIABLE)
# It reports to nobody, and hands on what workers say in plain lines, equal ones too.
HABITS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_COLOR_PREFIX": "0", "RAY_DEDUP_LOGS": "0"}


def play(address: str, worlds: Sequence[SimulateOptions]) -> None:
    """Play the worlds on the cluster at `address`: "local" starts one here, "auto" or HOST:PORT is one that runs.

    The cluster must have this machine as a node. A world whose worker is lost goes on elsewhere after its last complete
    round. Raises BadInput, and TooManyFailures when the other worlds have ended.
    """
    require_no_engine(worlds)
    environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    remote = ray.remote(num_cpus=1, max_retries=MOST_LOSSES)(play_here)
    with connected(address):
        tasks = {
            # as arguments: a task's environment is something that Ray logs, and the key is in it
            remote.options(name=world.out.name).remote(world, Path.cwd(), environment): world
            for world in worlds
        }
        # Where this raises, leaving the cluster ends the other worlds. They are not cancelled first: a cancel that
        # meets a task's own end kills this process (Ray 2.60, "Tried to complete task that was not pending").
        failures = sorted(failed(tasks))
    if failures:
        raise TooManyFailures("; ".join(failures))


def play_here(world: SimulateOptions, working: Path, environment: Mapping[str, str]) -> None:
    """In a worker: play `world`, from the start or after what is in its transcript. Paths start at `working`."""
    os.environ.update(environment)
    try:
        os.chdir(working)
    except OSError as error:
        told = f"{platform.node()} has no folder {working} ({error.strerror})"
        raise BadInput(f"--ray: {told}; start the run in a folder that all nodes share") from error
    # Servers are not started here: the worlds of a node would each start their own.
    world = world.model_copy(update={"resume": True, "engine": "local"})
    asyncio.run(play_worlds(world, [plan(world)], Encoder(encoder_folder(world.encoder))))


def failed(tasks: Mapping[Any, SimulateOptions]) -> Iterator[str]:
    """Wait for all tasks, tell of each world that ends, and yield why a world stopped before its end."""
    left = list(tasks)
    while left:
        (task,), left = ray.wait(left)
        failure = failure_of(task, tasks[task])
        ended = "stopped" if failure else "done"
        say(f"{tasks[task].out.name}: {ended}, {len(tasks) - len(left)} of {len(tasks)} worlds")
        if failure:
            yield failure


def failure_of(task: Any, world: SimulateOptions) -> str | None:
    """Why the world of an ended task stopped, None where it is complete. Raises what else was raised in the worker."""
    try:
        ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TooManyFailures):
            return str(error.cause)
        if isinstance(error.cause, (ray.exceptions.RaySystemError, ImportError)):
            told = first_line(error.cause)
            raise BadInput(
                f"--ray: a worker could not begin ({told}); every node needs the same environment"
            ) from error
        raise error.cause from error
    except ray.exceptions.RayError as error:
        return f"{world.out}: lost its worker {MOST_LOSSES + 1} times ({first_line(error)}); go on with --resume"
    return None


def first_line(error: BaseException) -> str:
    """What Ray says first; logs and advice follow."""
    return str(error).partition("\n")[0].rstrip(".")


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be a driver of the cluster while the block runs. Raises BadInput where that can't be."""
    require_reachable(address)
    for name, value in HABITS.items():
        os.environ.setdefault(name, value)
    settings = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, logging_level="ERROR", **settings)
    except (OSError, RuntimeError, ValueError) as error:
        told = shorten(str(error), 200, placeholder=" …")
        advice = "start one with `ray start`, set RAY_AUTH_MODE=token where it asks for one, or say --ray local"
        raise BadInput(f"--ray {address}: no cluster to be had ({told}); {advice}") from error
    try:
        yield
    finally:
        ray.shutdown()


def require_reachable(address: str) -> None:
    """Raises BadInput where `address` is none, or nothing listens there."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise BadInput(f'--ray {address}: is no address; write "auto", "local" or HOST:PORT')
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as error:
        told = error.strerror or error
        raise BadInput(f"--ray {address}: nobody answers ({told}); start the cluster, or mend the address") from error


def require_no_engine(worlds: Sequence[SimulateOptions]) -> None:
    """Raises BadInput where the worlds were to start a server."""
    if any(world.engine == "vllm" or world.vllm_command for world in worlds):
        raise BadInput("--ray: each world would start a vLLM of its own; start one and name it with --server")
