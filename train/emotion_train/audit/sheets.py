"""Contact sheets of the most suspicious pictures, one for each pair of label and suggestion."""

from __future__ import annotations

from pathlib import Path

from emotion_runtime.drawing.fonts import Font
from emotion_runtime.prediction import FacePrediction
from emotion_runtime.results.contact_sheet import MAX_PICTURES, ContactSheet
from emotion_train.audit.result import AuditResult


def draw_sheets(folder: Path, result: AuditResult, font: Font) -> str | None:
    """Draw the label issues of each pair, the most suspicious first.

    Args:
        folder: The folder, which exists.
        result: The audit.
        font: Draws labels and file names.

    Returns:
        A sentence about characters that the font lacks, or None.

    Raises:
        OutputError: A sheet cannot be written.
    """
    pictures = result.pictures
    classes, faces = pictures.classes, pictures.faces
    for number, (label, suggested, issues) in enumerate(result.list_pairs(), start=1):
        # Named by number, since the names of classes may be too long for one file name.
        path = folder / f"{number:02} {classes[label][:20]} as {classes[suggested][:20]}.png"
        shown = issues[:MAX_PICTURES]
        title = (
            f"labelled {classes[label]}, suggested {classes[suggested]}: "
            f"{len(shown):,} of {len(issues):,}, the most suspicious first"
        )
        sheet = ContactSheet(path, font=font, title=title)
        for one in shown:
            index = int(result.rated[one])
            confidence = float(result.probabilities[one, suggested])
            prediction = FacePrediction(
                label=classes[suggested],
                confidence=confidence,
                probabilities={
                    name: float(value)
                    for name, value in zip(classes, result.probabilities[one], strict=True)
                },
                path=faces.names[index],
                crop=faces.pixels[index],
            )
            sheet.add(prediction, (classes[label], classes[suggested]))
        sheet.save()
    return font.describe_missing()
