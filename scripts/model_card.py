"""Write the cards of the released models from `model_card.md.jinja` and from the model files.

    python scripts/model_card.py [NAME…]

All figures of a card are read from the model file, so that the two cannot differ. This needs no
data: run it after a change of the template. The training command is not in the model file; it is
kept from the card. The HTML of the cards is written too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import jinja2

import emotion_models
from emotion_export.label_subset.figures import BY_VOTES
from emotion_runtime import EmotionClassifier
from emotion_runtime.atomic import write_atomically
from emotion_runtime.digest import compute_sha256
from emotion_runtime.model.contract import Contract
from emotion_train.networks import NETWORKS
from emotion_train.recipe import (
    DROP_DUPLICATES,
    DROP_HELD_OUT,
    KEEP_DUPLICATES,
    read_duplicates,
)
from emotion_train.report.tables import (
    describe_interval,
    format_confidence_table,
    format_metrics_tables,
)
from render_cards import write_html

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")

# For the front matter, which model hubs read.
_TAGS = ("facial-expression-recognition", "emotion-recognition", "onnx", "onnxruntime", "edge")

_COMMAND = re.compile(r"^```sh\n(.*?)\nemotion-export ", re.DOTALL | re.MULTILINE)

_DUPLICATES = {
    KEEP_DUPLICATES: "kept",
    DROP_HELD_OUT: "left out",
    DROP_DUPLICATES: "left out, and other copies counted once",
}

# Title, and the figure of metrics["test"][group] with its format.
_OTHER_ROWS = (
    ("faces of the labels", "other", "pictures", ","),
    ("accuracy of the labels, without `other`", "other", "accuracy", ".2%"),
    ("get one of the labels", "other", "coverage", ".2%"),
    ("get the right label", "other", "named_correctly", ".2%"),
    ("faces of other classes", "other", "other_pictures", ","),
    ("get `other`", "other", "others_unnamed", ".2%"),
    ("AUROC of `other`", "other", "auroc", ".4f"),
    ("accuracy of every class (the network in float)", "every_class", "accuracy", ".2%"),
    ("macro F1 of every class (the network in float)", "every_class", "macro_f1", ".2%"),
)


def write_card(name: str, command: str) -> None:
    """Write the card of the released model `name`, which `command` trained, and its HTML."""
    model = emotion_models.model_path(name)
    text = render_card(name, model, EmotionClassifier(model).contract, command)
    with write_atomically(emotion_models.card_path(name)) as path:
        path.write_text(text, encoding="utf-8")
    write_html(name)


def render_card(name: str, model: Path, contract: Contract, command: str) -> str:
    """Return the card of a model, Markdown.

    Args:
        name: The model's name, without a suffix.
        model: Its file.
        contract: The contract in that file.
        command: The command that trained it, with lines of comments where it needs any.

    Raises:
        SystemExit: The model was measured on test pictures that lack a class.
    """
    metrics, training = contract.metrics, contract.training
    test, network = metrics["test"], metrics.get("float_network", metrics)
    if test["balanced_accuracy"] is None:
        raise SystemExit(f"no card: the test pictures lack {test['missing_classes']}")
    int8 = contract.parity.get("int8", {})
    rows = network.get("confidence")
    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # the output is Markdown
    )
    environment.filters |= {
        "cell": _format_cell,
        "change": lambda share: f"{share:+.2%}",
        "count": lambda number: f"{number:,}",
        "interval": describe_interval,
        "percent": lambda share: f"{share:.2%}",
        "recipe": _format_recipe,
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=name,
        command=command,
        contract=contract,
        network=NETWORKS[contract.network],
        labels=contract.labels,
        size=contract.input.size,
        megabytes=model.stat().st_size / 1e6,
        sha256=compute_sha256(model),
        parity=contract.parity,
        int8=int8,
        fp32=metrics.get("float_network", {}).get("test"),
        test=test,
        held_out=network.get("hold-out") or network.get("validation") or metrics["held-out"],
        by_votes=test.get("other", {}).get("truth") == BY_VOTES,
        tags=[*_TAGS, contract.precision],
        datasets=_list_datasets(training),
        index=_make_index(contract.labels, test),
        metrics_tables="\n".join(format_metrics_tables(test)),
        confidence_table="\n".join(format_confidence_table(rows)) if rows else "",
        knows_other=contract.other_threshold is not None,
        other_coverage=_format_other_coverage(metrics),
        judged_by=[by for by in ("", "_by_labels") if f"other{by}" in test],
        other_rows=_OTHER_ROWS,
        labelled_others=_describe_labelled_others(test),
        classes=_training_classes(contract),
        duplicates=_DUPLICATES[read_duplicates(training["recipe"])],
        training=training,
        parents=training.get("averaged_from"),
        started_from=_describe_parents(training),
        tool_versions={**training.get("tool_versions", {}), **contract.tool_versions},
    )


def read_command(name: str) -> str:
    """Return the training command in the card of a released model.

    Raises:
        SystemExit: The card has none.
    """
    found = _COMMAND.search(emotion_models.card_path(name).read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit(f"{emotion_models.card_path(name)}: has no training command")
    return found[1]


def _training_classes(contract: Contract) -> list[str]:
    """Return the classes of the training, in the order of its counts of faces."""
    named: list[str] = contract.training["recipe"]["classes"]
    known = {*contract.labels, *contract.other_classes}
    return named if set(named) == known else [*contract.labels, *contract.other_classes]


def _list_datasets(training: dict[str, Any]) -> list[str]:
    """Return the names of the data sets of a training."""
    recipes = [parent["recipe"] for parent in training.get("averaged_from") or [training]]
    with_votes = any(recipe.get("vote_weight") for recipe in recipes)
    return ["fer2013", "ferplus"] if with_votes else ["fer2013"]


def _make_index(labels: Sequence[str], test: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the test figures for the front matter, for each kind of true label."""
    names = (
        ("accuracy", "accuracy", "accuracy"),
        ("f1", "macro_f1", "macro F1"),
        ("balanced_accuracy", "balanced_accuracy", "balanced accuracy"),
        ("expected_calibration_error", "calibration_error", "expected calibration error"),
    )
    classes = ", ".join(labels)
    metrics = [
        {"type": kind, "name": name, "value": test[key]}
        for kind, key, name in names
        if test.get(key) is not None
    ]
    index = [{"dataset": f"FER2013 ({classes})", "metrics": metrics}]
    by_votes = test.get("other", {}).get("truth") == BY_VOTES
    agreed = test["other"] if by_votes else test.get("annotators_agree")
    if agreed and agreed["accuracy"] is not None:
        name = f"accuracy on {agreed['pictures']:,} pictures, against the majority of FER+ votes"
        index.append(
            {
                "dataset": f"FER2013 ({classes}), where FER+ annotators agree",
                "metrics": [{"type": "accuracy", "name": name, "value": agreed["accuracy"]}],
            }
        )
    return index


def _describe_labelled_others(test: dict[str, Any]) -> list[str]:
    """Return the share of each other class's test faces that still get one of the labels."""
    classes = test.get("other", {}).get("other_classes", {})
    return [
        f"{figures['named']:.1%} of the {figures['pictures']:,} {name} ones"
        for name, figures in classes.items()
        if figures["named"] is not None
    ]


def _describe_parents(training: dict[str, Any]) -> list[str]:
    """Return the weights that a run started from, as short digests."""
    parents = training.get("started_from")
    if not isinstance(parents, list):
        return []
    return [f"`{str(parent.get('weights'))[:16]}…`" for parent in parents]


def _format_other_coverage(metrics: dict[str, Any]) -> str:
    """Return a coverage of which `emotion-export` makes the threshold of `other` in the file.

    It is that of the held-out faces, rounded down: every smaller threshold has less coverage than
    the one that was given for the file.
    """
    coverage = metrics.get("held-out", {}).get("other", {}).get("coverage", 0.0)
    return f"{math.floor(coverage * 1000) / 1000:.3f}"


def _format_recipe(recipe: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {'/'.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in recipe.items()
    )


def _format_cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


@click.command(help=f"{__doc__.splitlines()[0]} Without NAME, of all released models.")
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(emotion_models.names()))
def main(names: tuple[str, ...]) -> None:
    """Write the cards of released models anew."""
    for name in names or emotion_models.names():
        write_card(name, read_command(name))
        print(emotion_models.card_path(name))


if __name__ == "__main__":
    main()
