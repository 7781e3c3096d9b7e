"""The commands `simulate` and `replay`, and how every command of this project ends.

Exit codes: 0 done, 1 a check failed, 2 bad input, 3 too many failed calls, 130 interrupted.
"""

from __future__ import annotations

import errno
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.errors import BadInput, TooManyFailures
from sandbox.config import (
    ReplayCompareOptions,
    ReplayForkOptions,
    ReplayShowOptions,
    ReplayVerifyOptions,
    SimulateOptions,
    load,
    nearest,
)

Command = Callable[[Sequence[str]], int]


def run_command(prog: str, command: Command) -> None:
    """Run `command` on this process's arguments and exit; what the user must mend is told in one line on stderr."""
    try:
        code = command(sys.argv[1:])
    except BadInput as error:
        code = _say(prog, str(error), 2)
    except TooManyFailures as error:
        code = _say(prog, str(error), 3)
    except KeyboardInterrupt:
        code = _say(prog, "interrupted", 130)
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        code = _say(prog, f"{where}{error.strerror}; mend the path or make room", 2)
    sys.stdout.flush()
    sys.exit(code)


def _say(prog: str, message: str, code: int) -> int:
    print(f"{prog}: {message}", file=sys.stderr)
    return code


def simulate() -> None:
    """Entry point of `simulate`."""
    run_command("simulate", _simulate)


def replay() -> None:
    """Entry point of `replay`."""
    run_command("replay", _replay)


def subcommand(prog: str, commands: dict[str, tuple[str, Command]], argv: Sequence[str]) -> int:
    """Run the subcommand that `argv` names, out of `commands`: name to (summary, command). --help prints them."""
    if not argv or argv[0] in ("-h", "--help"):
        rows = "\n".join(f"  {name:14}{summary}" for name, (summary, _) in commands.items())
        print(f"usage: {prog} COMMAND …\n\n{rows}\n\n`{prog} COMMAND --help` lists a command's options")
        return 0 if argv else 2
    if argv[0] not in commands:
        raise BadInput(f"unknown command {argv[0]!r}; {nearest(argv[0], list(commands))}")
    return commands[argv[0]][1](argv[1:])


def _simulate(argv: Sequence[str]) -> int:
    options = load(SimulateOptions, argv, prog="simulate")
    if options.resume:
        from sandbox.settings import base_of

        options = load(SimulateOptions, argv, prog="simulate", base={**base_of(options.out), "out": options.out})
    from sandbox.simulate import run

    return _played(run(options))


def _played(folders: Sequence[Path]) -> int:
    """Name the pages of worlds that were played."""
    for folder in folders:
        print(folder / "report.html")
    return 0


def _replay(argv: Sequence[str]) -> int:
    return subcommand("replay", REPLAY, argv)


def _show(argv: Sequence[str]) -> int:
    options = load(ReplayShowOptions, argv, prog="replay show")
    from sandbox.report.page import write_report
    from sandbox.transcript import world_folders

    pages = [write_report(folder) for folder in world_folders(options.run) or [options.run]]
    print(*pages, sep="\n")
    if options.open and not webbrowser.open(pages[0].resolve().as_uri()):
        return _say("replay show", "found no browser to open the page in: open it yourself", 1)
    return 0


def _compare(argv: Sequence[str]) -> int:
    options = load(ReplayCompareOptions, argv, prog="replay compare")
    from sandbox import compare

    return compare.main(options)


def _verify(argv: Sequence[str]) -> int:
    options = load(ReplayVerifyOptions, argv, prog="replay verify")
    from sandbox import verify

    return verify.main(options)


def _fork(argv: Sequence[str]) -> int:
    prog = "replay fork"
    named = load(ReplayForkOptions, argv, prog=prog)
    from sandbox.fork import fork
    from sandbox.settings import base_of, options_of

    before = options_of(named.run)
    options = load(ReplayForkOptions, argv, prog=prog, base=base_of(named.run))
    return _played([fork(options, before)])


REPLAY: dict[str, tuple[str, Command]] = {
    "show": ("write the report page of a run", _show),
    "compare": ("put runs side by side: paired by question, and by round", _compare),
    "verify": ("play a run again from its transcript alone and compare every line", _verify),
    "fork": ("go on from a round of a run under other settings", _fork),
}
