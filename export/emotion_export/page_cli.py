"""``emotion-page``: write a web page that runs a model file in the browser, without PyTorch."""

from __future__ import annotations

from pathlib import Path

import click

from emotion_runtime.command_line.commands import (
    CONTEXT_SETTINGS,
    Command,
    handle_errors,
    quiet_option,
    say,
    suggest_next,
    verbose_option,
    version_option,
)
from emotion_runtime.command_line.signals import raise_on_signals

_EXAMPLES = (
    ("emotion-page model.onnx -o page", "a file"),
    ("emotion-page edge-int8 -o page --overwrite", "a released model"),
    ("emotion-page model.onnx -o page --onnxruntime-web package.tgz", "offline"),
)
_GROUPS = {"Output": ("output", "overwrite"), "Input": ("onnxruntime_web",)}


@click.command(cls=Command, context_settings=CONTEXT_SETTINGS, examples=_EXAMPLES, groups=_GROUPS)
@click.argument("model", metavar="MODEL.onnx|NAME")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the page. A folder that is not empty needs --overwrite.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace the page in DIR. A folder with any other file is refused.",
)
@click.option(
    "--onnxruntime-web",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE.tgz",
    help="The npm package onnxruntime-web, unpacked or as .tgz.  [default: npm downloads it]",
)
@version_option("emotion-page")
@quiet_option
@verbose_option
@handle_errors()
def main(
    model: str,
    output: Path,
    overwrite: bool,
    onnxruntime_web: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write a static web page that runs a model file in the browser.

    MODEL.onnx is a file that emotion-export wrote, or the name of a released model. The page
    contains the file, its own code and onnxruntime-web, and loads nothing from other servers. npm
    downloads onnxruntime-web; its files are checked against their SHA-256.
    """
    from emotion_export.page.build import write_page

    raise_on_signals()
    log = (lambda _: None) if quiet else say
    write_page(model, output, runtime=onnxruntime_web, overwrite=overwrite, log=log)
    if not quiet:
        done = f"the page is in {output}"
        suggest_next(done, "python", "-m", "http.server", "--directory", output)


if __name__ == "__main__":
    from emotion_export.__main__ import run_page

    run_page()
