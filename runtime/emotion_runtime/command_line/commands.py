"""Shared by all commands: options, output, errors and interruptions."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import click

from emotion_runtime import __version__
from emotion_runtime.atomic import remove_temporary_files
from emotion_runtime.command_line.signals import (
    INTERRUPTED_EXIT_CODE,
    Terminated,
    ignore_interrupts_at_exit,
    was_interrupted,
)
from emotion_runtime.command_line.streams import discard_output
from emotion_runtime.counts import MAX_THREADS
from emotion_runtime.errors import EmotionEdgeError, OutputError, format_reason, is_lack_of_memory
from emotion_runtime.pictures.decoder_messages import silence_decoders
from emotion_runtime.terminal import escape_controls

P = ParamSpec("P")
R = TypeVar("R")

CONTEXT_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class NumberRange(click.FloatRange):
    """A range of finite numbers: click lets NaN, and infinity without a limit, pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; fail for one that is out of range or not finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


model_option = click.option(
    "-m",
    "--model",
    metavar="FILE|NAME",
    help="A file that emotion-export wrote, or a released model's name.  [default: the release]",
)
other_threshold_option = click.option(
    "--other-threshold",
    type=NumberRange(0.0, 1.0),
    metavar="SHARE",
    help='Where the probability of "other" reaches it, the label is "other"; 1 turns it off. For '
    "models with this output.  [default: the model's own]",
)
workers_option = click.option(
    "-j",
    "--workers",
    type=click.IntRange(1, MAX_THREADS),
    help="Threads that read and classify; in a long run, worker processes. 1 uses neither."
    "  [default: the CPUs this process may use]",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Print details, and a traceback where one helps."
)


def make_moved_option(flag: str, replacement: str, **kind: Any) -> Callable[[Any], Any]:
    """Return a decorator that adds an option of earlier versions; using it names its replacement.

    Args:
        flag: The option, such as ``--check``.
        replacement: What to use instead, as the end of a sentence.
        kind: Arguments of `click.option` to parse it, such as ``is_flag``.
    """

    def refuse(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value and not context.resilient_parsing:
            raise click.UsageError(f"{flag} is no longer an option; use {replacement}.")

    return click.option(
        flag, hidden=True, expose_value=False, is_eager=True, callback=refuse, **kind
    )


@contextlib.contextmanager
def raise_usage_errors() -> Iterator[None]:
    """Convert a ValueError about an option's value to wrong usage, with exit code 2.

    Raises:
        click.UsageError: The block raised a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


def version_option(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that adds ``--version`` to a command."""
    return click.version_option(__version__, prog_name=name, message="%(prog)s %(version)s")


def say(message: str) -> None:
    """Write a message for a person to standard error."""
    try:
        click.echo(escape_controls(message, keep="\n"), err=True)
    except (OSError, ValueError):
        discard_output(sys.stderr)  # standard error cannot be written either


def show(text: str) -> None:
    """Write a result for a person to standard output.

    Raises:
        OutputError: It cannot be written.
    """
    show_json(escape_controls(text, keep="\n"))


def show_json(text: str) -> None:
    """Write a result of `to_json` to standard output as it is; a closed pipe ends the command.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        discard_output(sys.stdout)  # the reader stopped early (``| head``)
        sys.exit(0)
    except (OSError, ValueError) as error:
        discard_output(sys.stdout)
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"standard output: cannot be written ({reason}).") from error


def suggest_next(done: str, *command: str | Path) -> None:
    """Print where the outputs are, and the command that is likely to follow.

    Args:
        done: Where the outputs are; empty where that has been printed.
        command: The command and its arguments, which are quoted for a POSIX shell; empty where no
            command follows.
    """
    import shlex

    following = f"next: {shlex.join(map(str, command))}" if command else ""
    say("; ".join(part for part in (done, following) if part))


def fail(message: str, code: int = 1) -> NoReturn:
    """Print an error of one sentence and exit."""
    say(f"error: {message}")
    sys.exit(code)


class Command(click.Command):
    """A command that ends with one sentence on signals and on errors of the standard streams.

    Its exit code is 130 after Ctrl-C and 143 after SIGTERM, as in shells. Its ``--help`` shows
    examples first, and the options in groups.

    Args:
        examples: Pairs of a command line and its purpose.
        groups: Title of each group → names of its parameters, in the order of ``--help``. The
            options of all commands follow as a last group.
    """

    COMMON = ("quiet", "verbose", "version", "help")

    def __init__(
        self,
        *args: Any,
        examples: Sequence[tuple[str, str]] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.groups = {**(groups or {}), "General": self.COMMON}

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summary, the examples, then the rest of the description."""
        summary, _, rest = inspect.cleandoc(self.help or "").partition("\n\n")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(summary)
        if self.examples:
            width = max(len(line) for line, _ in self.examples)
            rows = [f"  {line:<{width}}  # {purpose}\n" for line, purpose in self.examples]
            if max(map(len, rows)) > formatter.width + 1:
                rows = [f"  # {purpose}\n  {line}\n" for line, purpose in self.examples]
            with formatter.section("Examples"):
                for row in rows:
                    formatter.write(row)
        if rest:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(rest)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their groups; those of no group come last."""
        options = {
            # The name of click's own option depends on its version.
            "help" if "--help" in option.opts else option.name: option
            for option in self.get_params(ctx)
            if isinstance(option, click.Option)
        }
        grouped = {name for names in self.groups.values() for name in names}
        others = [name for name in options if name not in grouped]
        for title, names in {**self.groups, "Other options": others}.items():
            records = [
                record
                for name in names
                if name in options and (record := options[name].get_help_record(ctx))
            ]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command as `click.Command.main` does."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, False, **extra)
        except (click.exceptions.Abort, KeyboardInterrupt):
            fail("interrupted.", INTERRUPTED_EXIT_CODE)
        except Terminated as error:
            fail("terminated.", 128 + error.number)
        except click.ClickException as error:
            _show_usage(error)
            sys.exit(error.exit_code)
        except OSError as error:
            # From click's own output, such as --help; `handle_errors` catches the command's errors.
            discard_output(sys.stdout)
            if error.errno == errno.EPIPE:
                sys.exit(0)
            fail(f"standard output: cannot be written ({error.strerror or error}).")
        finally:
            ignore_interrupts_at_exit()
            remove_temporary_files()
        sys.exit(code if isinstance(code, int) else 0)


def _show_usage(error: click.ClickException) -> None:
    """Print click's message about wrong usage; arguments that it repeats are escaped."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        command = error.ctx.command_path
        say(f"{error.ctx.get_usage()}\nTry '{command} --help' for help.\n")
    say(f"Error: {error.format_message()}")


def handle_errors(extra: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that turns the toolkit's errors into one sentence and exit code 1.

    Args:
        extra: The extra with the command's optional packages; where one is missing, the error
            has the command that installs it.
    """

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            # Pillow and libtiff warn about unusual metadata. Damaged pixels give an error.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            silence_decoders()
            try:
                return command(*args, **kwargs)
            except (click.ClickException, click.exceptions.Exit, click.exceptions.Abort):
                raise
            except Terminated as error:
                fail("terminated.", 128 + error.number)
            except KeyboardInterrupt:
                fail("interrupted.", INTERRUPTED_EXIT_CODE)
            except Exception as error:
                if was_interrupted():  # an import can turn Ctrl-C into another exception
                    fail("interrupted.", INTERRUPTED_EXIT_CODE)
                message = _describe_error(error, extra)
                if message is None:
                    raise
                if kwargs.get("verbose"):
                    say(traceback.format_exc().rstrip("\n"))
                fail(message)

        return run

    return decorate


def require_extra(extra: str, what: str = "this command") -> None:
    """End the command at once where a package of an extra is not installed.

    The check comes before the imports, which take seconds.

    Args:
        extra: Name of the extra.
        what: What needs it, as the beginning of the message.
    """
    from emotion_runtime.command_line.extras import find_missing_module, format_missing_message

    missing = find_missing_module(extra)
    if missing is not None:
        fail(format_missing_message(what, missing, extra))


def _describe_error(error: Exception, extra: str | None) -> str | None:
    """Return the message for an expected error; None for a fault of this program."""
    if isinstance(error, EmotionEdgeError):
        return str(error)
    if is_lack_of_memory(error):
        return "not enough memory."
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return "no thread can be started; raise the limit of processes, or use fewer threads."
    if isinstance(error, ImportError):
        return _describe_import_error(error, extra)
    if isinstance(error, OSError) and error.strerror:
        prefix = "" if error.filename is None else f"{_decode_name(error.filename)}: "
        return f"{prefix}{error.strerror}."
    return None


def _describe_import_error(error: ImportError, extra: str | None) -> str | None:
    """Return the message for a package that is missing or cannot be loaded on this machine."""
    # numpy raises a page of advice from the error that has the reason.
    while isinstance(error.__cause__, ImportError):
        error = error.__cause__
    module = (error.name or "").partition(".")[0]
    if module.startswith("emotion_"):
        return None  # a fault of our own, or a broken installation
    if not isinstance(error, ModuleNotFoundError):
        # Such as a C library of the system that is too old for the package.
        return (
            f"{module or 'a package'} cannot be loaded on this machine ({format_reason(error)}); "
            f"install a version of it for this system and this Python."
        )
    if extra is None:
        return None
    from emotion_runtime.command_line.extras import format_missing_message

    return format_missing_message("this command", module, extra)


def _decode_name(name: object) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
