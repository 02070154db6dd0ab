"""The one place where an error becomes a sentence and an exit code."""

import logging
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from typing import Any, NoReturn

from typer.core import TyperCommand, TyperGroup

from kdanalysis.core.limits import LOGGER
from kdanalysis.core.ranks import RANKS, Ended

TYPED = {
    r"(?<=[:;] )vocabulary=(?=\d)": "--vocabulary ",
    r"\bby keys which": "by --keys which",
    r"\bas config of kd\.read_sparse": "by --config",
    r"name them with student_blocks and teacher_blocks": "name them with --student-blocks and "
    "--teacher-blocks",
    r"\boverwrite=True": "--overwrite",
    r"\bimage_size=": "--image-size ",
    r"(^|: )keys (?=name |cannot name )": r"\1--keys ",
}
CUTS = re.compile(  # of logits, where a command has an option for it
    r"(?:kd\.load_logits\(.*?, vocabulary=(\d+)\) in its place, other arguments as before,"
    r"|\[:, :(\d+)\] of each side)(?= cuts)"
)
NEEDED = {  # in place of what the parser says
    r", unable to parse .*": "",
    r"^Input should be ": "need ",
    r"\ba valid integer": "a whole number",
    r"\ba valid number": "a number",
    r"\bgreater than or equal to": "a number of at least",
}
LONGEST = 400  # letters of a line on stderr
BAD_INPUT, INTERNAL, INTERRUPTED = 2, 1, 130
AS_TYPED = ("keys", "vocabulary")  # options that functions below take by the same names
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(SystemExit):
    """Asked to end by a signal; ``code`` is 128 and its number."""


class Boundary(TyperGroup):
    """A group of commands that ends every error in one sentence on stderr, without a traceback.

    Exit codes: 0 success, 1 an error of ours or a finding, 2 bad input, 130 Ctrl-C, 143 SIGTERM.
    ``--debug`` anywhere on the command line, or ``KDANALYSIS_DEBUG=1``, prints the traceback too.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        standalone_mode: bool = True,
        **extra: object,
    ) -> NoReturn:
        """Run the command; never returns, never raises anything but SystemExit."""
        given = list(sys.argv[1:] if args is None else args)
        rest = [arg for arg in given if arg != "--debug"] or ["--help"]
        debug = "--debug" in given or os.environ.get("KDANALYSIS_DEBUG", "0") not in ("", "0")
        try:
            with ended_by_signals(), announcing():
                code = super().main(rest, "kdanalysis", standalone_mode=False, **extra) or 0
            sys.stdout.flush()
            if code != INTERRUPTED:
                RANKS.agree()
        except BrokenPipeError:
            forget_stdout()
            _, code = RANKS.tell(("nobody reads what is printed", INTERNAL))
        except Terminated as end:
            code = end.code
        except Ended as end:
            sentence, code = end.args
            say(f"error: {sentence}")
        except Exception as error:
            if debug:
                traceback.print_exc()
            sentence, code = RANKS.tell(explain(error))
            sentence = as_typed(sentence)
            say(f"error: {sentence}")
        if code == INTERRUPTED or code in (128 + number for number in ENDING):
            say("interrupted" if code == INTERRUPTED else "terminated")
        else:
            RANKS.leave()
        sys.exit(code)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, so that it cleans up after itself.

    Not where somebody else handles or ignores them: ``nohup``, or the ranks of ``torchrun``, which
    see to it when they join.
    """
    alone = "RANK" not in os.environ and threading.current_thread() is threading.main_thread()
    own = [n for n in ENDING if alone and signal.getsignal(n) == signal.SIG_DFL]
    for number in own:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated(128 + number)


@contextmanager
def announcing() -> Iterator[None]:
    """Show on stderr what is announced beforehand, rows and bytes, and what is warned of."""
    handler, level, show = logging.Handler(), LOGGER.level, warnings.showwarning
    handler.emit = lambda record: say(record.getMessage())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)

    def warned(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if category is RuntimeWarning:
            return say(f"warning: {message}")
        return show(message, category, *where)

    warnings.showwarning = warned
    try:
        yield
    finally:
        warnings.showwarning = show
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


class Command(TyperCommand):
    """A command; sentences speak of its options as they are typed."""

    def invoke(self, ctx: Any) -> Any:
        """Run it; in errors ``vocabulary=5`` is ``--vocabulary 5``."""
        try:
            return super().invoke(ctx)
        except ValueError as error:
            own = [one.name for one in self.params if one.name in AS_TYPED]
            if own and error.args:
                said = str(error.args[0])
                if "vocabulary" in own:
                    said = CUTS.sub(lambda found: f"--vocabulary {found[1] or found[2]}", said)
                said = re.sub(rf"\b({'|'.join(own)})= ?", r"--\1 ", said)
                error.args = said, *error.args[1:]
            raise


class Together(Command):
    """A command that runs on one rank or, under torchrun, on several that share the rows."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Join the other ranks before anything can go wrong."""
        RANKS.join()
        return super().make_context(*args, **extra)


def say(sentence: str) -> None:
    """Write one line on stderr, in one rank of several; of a long one its beginning and end."""
    if RANKS.speaks:
        if len(sentence) > LONGEST:
            sentence = f"{sentence[: LONGEST // 2]} ... {sentence[5 - LONGEST // 2 :]}"
        print(f"kdanalysis: {sentence}", file=sys.stderr)


def explain(error: Exception) -> tuple[str, int]:
    """Return one sentence and the exit code of an error that a command raised."""
    if hasattr(error, "format_message"):
        return usage(error), BAD_INPUT
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}", BAD_INPUT
    sentence = " ".join(str(error.args[0] if error.args else error).split())
    if isinstance(error, (ValueError, OSError)) and sentence:
        return sentence, BAD_INPUT
    if isinstance(error, KeyError) and " " in sentence:
        return sentence, BAD_INPUT
    name = type(error).__name__
    return f"unexpected {name}: {sentence} (--debug shows where)", INTERNAL


def as_typed(sentence: str) -> str:
    """Return what is said of arguments in Python as it is typed here."""
    for said, typed in TYPED.items():
        sentence = re.sub(said, typed, sentence)
    return sentence


def usage(error: Exception) -> str:
    """Return the parser's message, with the nearest option where one was misspelt.

    One that is written in part is nearest to what it begins, and ``-seed`` to ``--seed``.
    """
    message = " ".join(error.format_message().split())
    wrong, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if hasattr(error.__cause__, "errors"):
        return unread(error)
    if wrong is None or context is None:
        return message
    if context.parent and wrong in options_of(context.parent):
        before = f"{context.parent.command_path} {wrong} ... {context.info_name}"
        return f"{wrong} goes before the command: {before}"
    wrong = getattr(error.__context__, "option_name", wrong)  # of -seed the parser tells -s
    valid = options_of(context)
    near = max(
        (name for name in [*valid, "--help", "--debug"] if name.startswith("-")),
        key=lambda name: (name.startswith(wrong), SequenceMatcher(None, name, wrong).ratio()),
    )
    return f"{context.command_path} has no option {wrong}; the nearest one is {near}"


def unread(error: Any) -> str:
    """Return what was given for an option that cannot be read so, and what is needed."""
    first = error.__cause__.errors()[0]
    need = first["msg"]
    for said, ours in NEEDED.items():
        need = re.sub(said, ours, need)
    return f"{error.param.opts[0]} {first['input']!r} cannot be read: {need}"


def options_of(context: Any) -> list[str]:
    """Return the names of a command's options."""
    return [name for parameter in context.command.params for name in parameter.opts]


def forget_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
