"""The command ``python -m emotion_runtime.ray``: `emotion-infer` on the workers of a cluster."""

from __future__ import annotations

import sys

import click

from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    handle_errors,
    quiet_option,
    require_extra,
    say,
    verbose_option,
    version_option,
)
from emotion_runtime.command_line.signals import raise_on_signals
from emotion_runtime.prediction import format_count
from emotion_runtime.ray.defaults import FORMATS, PARTITION_SIZE

_NAME = "python -m emotion_runtime.ray"
_EXAMPLES = (
    (f"{_NAME} faces/ -o results/", "on the CPUs of this machine"),
    (f"{_NAME} s3://bucket/faces -o s3://bucket/results", "a bucket"),
    (f"{_NAME} photographs/ -o results/ --faces -f jsonl", "find faces"),
)
_GROUPS = {
    "Input": ("faces",),
    "Model": ("model",),
    "Output": ("output", "format_name"),
    "Speed": ("workers", "partition_size"),
}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR|URI",
    help="Folder of the results, one file per partition. Existing partitions are kept: repeat the "
    "command to continue an interrupted run.",
)
@click.option(
    "-m",
    "--model",
    metavar="FILE|NAME",
    help="A file that emotion-export wrote, or the name of a released model.  [default: the "
    "released model]",
)
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="Format of the results.",
)
@click.option(
    "--faces",
    is_flag=True,
    help="SOURCEs are photographs: find the faces in each, and classify every face.",
)
@click.option(
    "--partition-size",
    type=click.IntRange(min=1),
    default=PARTITION_SIZE,
    show_default=True,
    help="Pictures in one partition, which is repeated where a worker dies.",
)
@click.option(
    "-j",
    "--workers",
    type=click.IntRange(min=1),
    help="Number of workers, of one thread each.  [default: the CPUs of the cluster]",
)
@version_option(_NAME)
@quiet_option
@verbose_option
@handle_errors("ray")
def main(
    sources: tuple[str, ...],
    output: str,
    model: str | None,
    format_name: str,
    faces: bool,
    partition_size: int,
    workers: int | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Classify the pictures of folders or URIs on the workers of a Ray cluster.

    SOURCE is a folder or a URI such as s3://bucket/faces. The command starts Ray on this machine,
    or connects to the cluster at RAY_ADDRESS; the model file and local SOURCEs must then have the
    same path on every machine.
    """
    require_extra("ray")
    from emotion_runtime.ray.job import predict_to

    raise_on_signals()
    done = predict_to(
        sources,
        output,
        model=model,
        faces=faces,
        format_name=format_name,
        partition_size=partition_size,
        concurrency=workers,
        say=say if verbose else lambda _: None,
        warn=(lambda _: None) if quiet else say,
    )
    if not quiet:
        rate = done.pictures / max(done.seconds, 1e-9)
        pictures = format_count(done.pictures, "picture")
        text = f"{output}: {pictures} in {format_count(done.partitions, 'partition')}"
        if done.skipped:
            text += f", {done.skipped:,} of them there already"
        if done.unreadable:
            here = " of those classified now" if done.skipped else ""
            text += f"; {done.unreadable:,}{here} could not be read"
        say(f"{text}; {done.seconds:.1f} s" + ("" if done.skipped else f", {rate:,.0f} a second"))
    sys.exit(1 if done.unreadable else 0)


def run() -> None:
    """Run the command."""
    from emotion_runtime.command_line.signals import exit_on_interrupt
    from emotion_runtime.command_line.streams import open_standard_streams

    exit_on_interrupt()
    open_standard_streams()
    main(prog_name=_NAME)


if __name__ == "__main__":
    run()
