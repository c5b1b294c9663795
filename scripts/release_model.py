r"""Release a trained run: proven ONNX files, their proofs, cards and checksums, its checkpoint.

    python scripts/release_model.py RUN_DIR NAME DATA "the command that trained it" \
        [--labels happy,sad,surprise --votes votes.csv --other-coverage 0.95]

NAME is released in fp32, NAME-int8 beside it where int8 passes its gates. With --labels the files
keep these labels of the network, and have the output `other`; --votes says what faces show.

The figures of the card are read from the finished file, so that the two cannot differ.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from emotion_export.defaults import OTHER_COVERAGE
from emotion_export.export import Plan, check_target, export_checkpoint
from emotion_export.int8.labelled_faces import read_labelled_faces
from emotion_export.label_subset.figures import BY_VOTES
from emotion_export.parity.comparison import ParityError
from emotion_export.parity.faces import read_parity_faces
from emotion_runtime import EmotionClassifier
from emotion_runtime.atomic import write_atomically
from emotion_runtime.digest import compute_sha256
from emotion_runtime.model.contract import Contract
from emotion_train.checkpoints.checkpoint import load_checkpoint
from emotion_train.data.votes import Votes
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
from emotion_train.run_folder import RunFolder

PACKAGE = Path(__file__).parents[1] / "models" / "emotion_models"


def main(
    run: Path,
    name: str,
    data: Path,
    command: str,
    labels: tuple[str, ...] = (),
    votes: Path | None = None,
    coverage: float = OTHER_COVERAGE,
) -> None:
    """Write everything that belongs to the release `name`."""
    checkpoint = PACKAGE / "checkpoints" / f"{name}.pt"
    checkpoint.parent.mkdir(exist_ok=True)
    if run.resolve() != checkpoint.resolve():
        shutil.copyfile(RunFolder(run).best_checkpoint, checkpoint)
    plan = Plan(report=False, labels=labels, other_coverage=coverage)
    _release(name, plan, checkpoint, data, command, votes)
    try:
        _release(f"{name}-int8", replace(plan, precision="int8"), checkpoint, data, command, votes)
    except ParityError as error:
        print(f"{name}-int8 is not released: {error}")
    lines = [f"{compute_sha256(path)}  {path.name}\n" for path in sorted(PACKAGE.glob("*.onnx"))]
    with write_atomically(PACKAGE / "SHA256SUMS") as path:
        path.write_text("".join(lines), encoding="ascii")


def _release(
    name: str, plan: Plan, checkpoint: Path, data: Path, command: str, votes: Path | None
) -> None:
    """Write one file with its proof and its card."""
    trained = load_checkpoint(checkpoint)
    model = PACKAGE / f"{name}.onnx"
    check_target(model, overwrite=True)
    labelled = read_labelled_faces(data, trained)
    faces = read_parity_faces(data, size=trained.size)
    done = export_checkpoint(
        trained,
        model,
        faces,
        plan,
        labelled,
        test=labelled.test,
        votes=None if votes is None else Votes(votes, trained.labels),
        log=print,
    )
    print(f"{model.name}: largest logit difference {done.max_logit_difference:.1e}")
    contract = EmotionClassifier(model).contract
    card = PACKAGE / "cards" / f"{name}.md"
    with write_atomically(card) as path:
        path.write_text(write_card(name, model, contract, command), encoding="utf-8")


def write_card(name: str, model: Path, contract: Contract, command: str) -> str:
    """Write the card of a model from what its file says."""
    metrics, labels = contract.metrics, contract.labels
    test, network = metrics["test"], metrics.get("float_network", metrics)
    held_out = network.get("hold-out") or network.get("validation") or metrics["held-out"]
    parity = contract.parity
    if test["balanced_accuracy"] is None:
        raise SystemExit(f"no card: the test pictures lack {test['missing_classes']}")
    trained = contract.network
    versions = {**contract.training.get("tool_versions", {}), **contract.tool_versions}
    lines = [
        f"# {name}",
        "",
        f"The network: {NETWORKS[contract.network]}. It tells {', '.join(labels[:-1])} and "
        f"{labels[-1]} apart on gray faces of {contract.input.size}×{contract.input.size} pixels.",
        "",
        f"**{test['accuracy']:.2%}** accuracy on the {test['pictures']:,} test pictures of FER2013 "
        f"(public and private test together; {describe_interval(test)}"
        f"balanced {test['balanced_accuracy']:.2%}).",
        "",
        "| | |",
        "| --- | --- |",
        f"| file | `{name}.onnx`, {model.stat().st_size / 1e6:.2f} MB, {contract.precision}, "
        f"sha256 `{compute_sha256(model)[:16]}…` |",
        f"| input | `pixels`, uint8, (batch, 1, {contract.input.size}, {contract.input.size}), "
        "gray 0–255, batch dynamic |",
        f"| outputs | `logits` and `probabilities`, float32, (batch, {len(labels)})"
        + ("" if contract.other_threshold is None else "; `other`, float32, (batch,)")
        + " |",
        f"| labels | {', '.join(f'{i} {label}' for i, label in enumerate(labels))} |",
        f"| parity with PyTorch | {100 * parity['label_agreement']:.4g} % of the labels on "
        f"{parity['faces']:,} real faces, largest logit difference "
        f"{parity['max_logit_difference']:.1e} |",
        f"| calibration | temperature {contract.temperature:.3f}, expected calibration error "
        f"{test['calibration_error']:.2%} on test |",
        f"| hold-out accuracy of the network | {held_out['accuracy']:.2%} on "
        f"{held_out['pictures']:,} pictures ({describe_interval(held_out)}{_chosen(contract)}) |",
    ]
    lines += [*_int8(contract), *_agreed(test), "", *format_metrics_tables(test), *_other(contract)]
    if rows := network.get("confidence"):
        own = f"The file's own confidence threshold is {contract.min_confidence:.2f}."
        lines += ["", "## Confidence", "", *format_confidence_table(rows), "", own]
    lines += [
        "",
        "## How it was made",
        "",
        "Data: FER2013 (ICML 2013 challenge; research use), the classes "
        f"{', '.join(_classes(contract))}; "
        f"{' / '.join(f'{n:,}' for n in contract.training['faces'])} training "
        f"faces before balance. {_describe_duplicates(contract.training['recipe'])} "
        "The test set was read once, for this card.",
        "",
        *_lineage(contract.training),
        "",
        "Tools: " + ", ".join(f"{key} {value}" for key, value in versions.items()) + ".",
        "",
        "```sh",
        command,
        f"emotion-export {name}.onnx --checkpoint runs/{trained}"
        + (f" --precision {contract.precision}" if contract.precision != "fp32" else "")
        + ("" if contract.other_threshold is None else f" --labels {','.join(labels)}"),
        f"emotion-infer fer2013/test/{{{','.join(labels)}}} -m {name} -f jsonl > predictions.jsonl",
        "```",
        "",
        "The same seed gives the same weights on the same machine, code and versions; else sums "
        "are added in another order, and the accuracy differs by some tenths of a point. The "
        "checkpoint that this file was exported from is "
        f"`models/emotion_models/checkpoints/{trained}.pt`.",
        "",
        "## Limits",
        "",
        "- It reads expressions, not feelings: what a face shows is not what a person feels.",
        _limit(contract),
        "- It was trained on posed and web faces that fill the picture, of whom nobody knows how "
        "they are spread over age, skin colour, sex or culture; expect other error rates on other "
        "people. Do not use it to judge people, or where an error harms someone.",
        "- FER2013's labels are noisy: ten annotators a picture would reach about 93 % on them.",
        "- A photograph must be cropped to the face first; `emotion-infer --faces` does it.",
        "",
    ]
    return "\n".join(lines)


def _classes(contract: Contract) -> list[str]:
    """Return the classes of the training, in the order of its counts of faces."""
    named = contract.training["recipe"]["classes"]
    known = {*contract.labels, *contract.other_classes}
    return named if set(named) == known else [*contract.labels, *contract.other_classes]


def _describe_duplicates(recipe: dict[str, Any]) -> str:
    """Return what was done with training pictures that are equal to others in every pixel."""
    return {
        KEEP_DUPLICATES: "Training pictures that stand in the test set or the hold-out too were "
        "kept.",
        DROP_HELD_OUT: "Training pictures that stand in the test set or the hold-out too were "
        "left out.",
        DROP_DUPLICATES: "Training pictures that stand in the test set or the hold-out too were "
        "left out, and other copies counted once.",
    }[read_duplicates(recipe)]


def _limit(contract: Contract) -> str:
    """Return what the file does with faces that show none of its labels."""
    if contract.other_threshold is None:
        return (
            f"- It knows {len(contract.labels)} classes and must choose one: a face that shows "
            "something else gets one of them too, often with confidence. `--min-confidence` sets "
            "the confidence threshold, below which the label is `uncertain`."
        )
    named = contract.metrics["test"]["other"]["other_classes"]
    shares = ", ".join(
        f"{one['named']:.1%} of the {one['pictures']:,} {name} ones"
        for name, one in named.items()
        if one["named"] is not None
    )
    return (
        "- A face that shows none of its labels should be `other`, and often is not: of the test "
        f"faces, {shares} still get one of the labels. `--other-threshold` names fewer of them, "
        "and fewer of the others."
    )


def _other(contract: Contract) -> list[str]:
    """Return the section on the output `other`, with its figures on the test set."""
    if contract.other_threshold is None:
        return []
    test = contract.metrics["test"]
    columns = [by for by in ("", "_by_labels") if f"other{by}" in test]
    lines = [
        "",
        "## Other",
        "",
        f"The network also knows {', '.join(contract.other_classes)}. `other` is the sum of the "
        f"probabilities of these; where it reaches {contract.other_threshold:.2f}, the label is "
        f"`other`. The threshold was chosen on held-out training faces. On the test set:",
        "",
        "| | " + " | ".join(f"by the {test[f'other{by}']['truth']}" for by in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    rows = (
        ("faces of the labels", "other", "pictures", ","),
        ("accuracy of the labels, without `other`", "other", "accuracy", ".2%"),
        ("named", "other", "coverage", ".2%"),
        ("named correctly", "other", "named_correctly", ".2%"),
        ("faces of other classes", "other", "other_pictures", ","),
        ("labelled `other`", "other", "others_unnamed", ".2%"),
        ("AUROC of `other`", "other", "auroc", ".4f"),
        ("accuracy of every class (the network in float)", "every_class", "accuracy", ".2%"),
        ("macro F1 of every class (the network in float)", "every_class", "macro_f1", ".2%"),
    )
    for title, group, name, form in rows:
        values = [test[f"{group}{by}"][name] for by in columns]
        cells = ["–" if value is None else format(value, form) for value in values]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    figures = test["other"]
    lines += ["", f"Confusion matrix by the {figures['truth']} (rows true, columns predicted):", ""]
    lines += ["| | " + " | ".join(figures["labels"]) + " |"]
    lines += ["| --- |" + " ---: |" * len(figures["labels"])]
    for name, counts in zip(figures["labels"], figures["confusion_matrix"], strict=True):
        lines.append(f"| **{name}** | " + " | ".join(f"{n:,}" for n in counts) + " |")
    lines += ["", "Risk–coverage: of all these faces, named in the order of `other`:", ""]
    lines += ["| share named | share of the named that is wrong |", "| ---: | ---: |"]
    lines += [f"| {part:.0%} | {risk:.2%} |" for part, risk in figures["risk_coverage"][1::2]]
    return lines


def _chosen(contract: Contract) -> str:
    """Say what was chosen on the hold-out."""
    if "averaged_from" in contract.training:
        return "the runs and their mean were chosen on them"
    return "the epoch was chosen on them"


def _lineage(training: dict[str, Any]) -> list[str]:
    """Say by which recipe, or of which runs, the weights came to be."""
    parents = training.get("averaged_from")
    if not parents:
        kept = f"epoch {training['epoch']} of {training['epochs']} was kept"
        lines = [f"Recipe: {_recipe(training['recipe'])}; {kept}."]
        started = training.get("started_from")
        if isinstance(started, list):
            digests = ", ".join(f"`{str(parent.get('weights'))[:16]}…`" for parent in started)
            lines += ["", f"It started from the weights {digests}."]
        return lines
    lines = [
        f"The weights are the mean of {len(parents)} runs; the statistics of batch normalisation "
        f"were then taken anew{training.get('statistics', ' from the training faces')}. The runs:",
        "",
    ]
    for parent in parents:
        digest = f", weights `{parent['weights'][:16]}…`" if parent.get("weights") else ""
        lines.append(
            f"- epoch {parent['epoch']} of {parent['epochs']}{digest}: {_recipe(parent['recipe'])}"
        )
    return lines


def _recipe(recipe: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_said(value)}" for key, value in recipe.items())


def _int8(contract: Contract) -> list[str]:
    """Say what eight bits cost."""
    if contract.precision != "int8":
        return []
    figures, before = contract.parity["int8"], contract.metrics.get("float_network", {}).get("test")
    in_fp32 = "" if before is None else f"; fp32 on test {before['accuracy']:.2%}"
    in_float = f", {len(figures['in_float'])} layers in float" if figures["in_float"] else ""
    return [
        f"| int8 | {figures['method']} ranges{in_float}; {figures['label_agreement']:.2%} of the "
        f"labels of fp32 on {figures['faces']:,} held-out faces, accuracy loss "
        f"{figures['accuracy_loss']:+.2%}, largest recall loss {figures['recall_loss']:+.2%} "
        f"there{in_fp32}; {figures['times_as_fast_as_fp32']:.2f} times as fast "
        "as fp32 where it was made (batch 1, one thread) |"
    ]


def _agreed(test: dict[str, Any]) -> list[str]:
    agreed, other = test.get("annotators_agree"), test.get("other", {})
    if other.get("truth") == BY_VOTES:
        return [
            f"| where annotators agree | {other['accuracy']:.2%} on the {other['pictures']:,} test "
            "pictures where a strict majority of ten FER+ votes names one of the labels, against "
            "that vote |"
        ]
    if not agreed:
        return []
    return [
        f"| where annotators agree | {agreed['accuracy']:.2%} on the {agreed['pictures']:,} test "
        "pictures where a strict majority of ten FER+ votes names one of the classes, against that "
        f"vote ({describe_interval(agreed)}FER2013's own labels: {agreed['original_labels']:.2%}) |"
    ]


def _said(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("data", type=Path)
    parser.add_argument("command")
    parser.add_argument("--labels", default="")
    parser.add_argument("--votes", type=Path)
    parser.add_argument("--other-coverage", type=float, default=OTHER_COVERAGE)
    given = parser.parse_args()
    wanted = tuple(filter(None, given.labels.split(",")))
    main(
        given.run, given.name, given.data, given.command, wanted, given.votes, given.other_coverage
    )
