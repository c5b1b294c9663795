"""``python -m emotion_runtime.ray_infer``: `emotion-infer` over a cluster's workers."""

from __future__ import annotations

import sys

import click

from emotion_runtime.commands import (
    CONTEXT,
    Command,
    guarded,
    quiet_option,
    require,
    say,
    verbose_option,
)
from emotion_runtime.signals import raise_on_signals


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR|URI",
    help="Folder of the answers, one file a partition. The same command again goes on.",
)
@click.option("-m", "--model", metavar="FILE|NAME", help="As in emotion-infer.")
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(["parquet", "jsonl", "csv"]),
    default="parquet",
    show_default=True,
    help="How answers are written.",
)
@click.option("--faces", is_flag=True, help="SOURCEs are photographs: find the faces in each.")
@click.option(
    "--partition-size",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Pictures of one file of answers: what a worker that dies must do again.",
)
@click.option(
    "-j",
    "--workers",
    type=click.IntRange(min=1),
    help="Workers of one thread each.  [default: the CPUs of the cluster]",
)
@quiet_option
@verbose_option
@guarded("ray")
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
    """Classify the pictures of SOURCEs, local folders or URIs such as s3://bucket/faces, by Ray.

    Starts Ray on this machine, or uses the cluster that RAY_ADDRESS names; the model file and
    local SOURCEs must then lie at the same path on every machine.
    """
    require("ray")
    from emotion_runtime.ray_data import predict_to

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
        text = f"{output}: {done.pictures:,} pictures in {done.partitions:,} partitions"
        if done.skipped:
            text += f", {done.skipped:,} of them there already"
        if done.unreadable:
            here = " of those classified now" if done.skipped else ""
            text += f"; {done.unreadable:,}{here} could not be read"
        say(f"{text}; {done.seconds:.1f} s" + ("" if done.skipped else f", {rate:,.0f} a second"))
    sys.exit(1 if done.unreadable else 0)


def run() -> None:
    """Run the command."""
    from emotion_runtime.signals import exit_on_interrupt
    from emotion_runtime.streams import open_standard_streams

    exit_on_interrupt()
    open_standard_streams()
    main(prog_name="python -m emotion_runtime.ray_infer")


if __name__ == "__main__":
    run()
