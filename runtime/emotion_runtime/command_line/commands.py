"""What the commands share: common options, how they write, fail and are interrupted."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
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
from emotion_runtime.errors import EmotionEdgeError, OutputError
from emotion_runtime.pictures.decoder_messages import silence_decoders
from emotion_runtime.terminal import escape_controls

P = ParamSpec("P")
R = TypeVar("R")

CONTEXT_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

model_option = click.option(
    "-m",
    "--model",
    metavar="FILE|NAME",
    help="A file that emotion-export wrote, or a released model's name.  [default: the release]",
)
other_threshold_option = click.option(
    "--other-threshold",
    type=click.FloatRange(0.0, 1.0),
    metavar="SHARE",
    help='Where the probability of "other" reaches it, the label is "other"; 1 turns it off. For '
    "models with this output.  [default: the model's own]",
)
workers_option = click.option(
    "-j",
    "--workers",
    type=click.IntRange(min=1),
    help="Batches read and classified at the same time.  [default: the CPUs this process may use]",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Say more, and show a traceback where one would help."
)


def make_moved_option(flag: str, replacement: str, **kind: Any) -> Callable[[Any], Any]:
    """Give a command a hidden option of earlier versions, which names what replaces it.

    Args:
        flag: The option, such as ``--check``.
        replacement: What to use instead, as the end of a sentence.
        kind: What `click.option` needs to parse it, such as ``is_flag``.
    """

    def refuse(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value and not context.resilient_parsing:
            raise click.UsageError(f"{flag} is no longer an option; use {replacement}.")

    return click.option(
        flag, hidden=True, expose_value=False, is_eager=True, callback=refuse, **kind
    )


@contextlib.contextmanager
def raise_usage_errors() -> Iterator[None]:
    """Make wrong usage, with exit code 2, of a ValueError about an option's value.

    Raises:
        click.UsageError: The block raised a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


def version_option(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a command ``--version``."""
    return click.version_option(__version__, prog_name=name, message="%(prog)s %(version)s")


def say(message: str) -> None:
    """Write a message for a person to standard error; results alone go to standard output."""
    try:
        click.echo(escape_controls(message, keep="\n"), err=True)
    except (OSError, ValueError):
        discard_output(sys.stderr)  # there is nowhere to say it


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
        discard_output(sys.stdout)  # the reader has seen enough (``| head``)
        sys.exit(0)
    except (OSError, ValueError) as error:
        discard_output(sys.stdout)
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"standard output: cannot be written ({reason}).") from error


def suggest_next(done: str, *command: str | Path) -> None:
    """Say where the outputs are, and which command is likely to be typed next.

    Args:
        done: Where the outputs are; empty where that has been said.
        command: Its arguments, which are quoted for a POSIX shell; none where there is no next
            command.
    """
    import shlex

    following = f"next: {shlex.join(map(str, command))}" if command else ""
    say("; ".join(part for part in (done, following) if part))


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one sentence and exit code 1, or another."""
    say(f"error: {message}")
    sys.exit(code)


class Command(click.Command):
    """A command that ends in one sentence whatever happens to its streams, and on signals.

    Exit code 130 after Ctrl-C and 143 after SIGTERM, as shells report them. Its ``--help`` shows
    examples first, and its options by groups.

    Args:
        examples: Pairs of a command line and what it does.
        groups: The title of each group → the names of its parameters, in the order in which they
            are shown. The options that all commands have follow as a last group.
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
        """Write the options, group by group; those of no group come last."""
        options = {
            # Versions of click name their own option differently.
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
            # Of click's own writing, such as --help; a command's own errors are caught below.
            discard_output(sys.stdout)
            if error.errno == errno.EPIPE:
                sys.exit(0)
            fail(f"standard output: cannot be written ({error.strerror or error}).")
        finally:
            ignore_interrupts_at_exit()
            remove_temporary_files()
        sys.exit(code if isinstance(code, int) else 0)


def _show_usage(error: click.ClickException) -> None:
    """Write what click says of wrong usage; what it repeats from the user may hold escapes."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        command = error.ctx.command_path
        say(f"{error.ctx.get_usage()}\nTry '{command} --help' for help.\n")
    say(f"Error: {error.format_message()}")


def handle_errors(extra: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Turn the toolkit's own errors into one sentence and exit code 1.

    Args:
        extra: The extra that holds the command's heavy packages; a missing one is answered with
            the line that installs it.
    """

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            # Pillow warns of odd metadata; the pixels decide, and damage is an answer of its own.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            # So does libtiff, on standard error itself.
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
    """End a command at once where a package of an extra is missing.

    Imports take seconds; what is missing is looked for before.

    Args:
        extra: The extra.
        what: What needs it, as the beginning of the sentence.
    """
    from emotion_runtime.command_line.extras import find_missing_module, format_missing_message

    missing = find_missing_module(extra)
    if missing is not None:
        fail(format_missing_message(what, missing, extra))


def _describe_error(error: Exception, extra: str | None) -> str | None:
    """Return what is said of an error; None for one that is a fault of this program."""
    if isinstance(error, EmotionEdgeError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        # By name: a broken install of one of our own modules must not look like an extra.
        missing = (error.name or "").partition(".")[0]
        if extra is None or missing.startswith("emotion_"):
            return None
        from emotion_runtime.command_line.extras import format_missing_message

        return format_missing_message("this command", missing, extra)
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{_decode_name(error.filename)}: "
        return f"{place}{error.strerror}."
    return None


def _decode_name(name: object) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
