"""Build the font of the package, DejaVuSans.ttf: Latin, Greek and Cyrillic of DejaVu Sans.

    pip install 'fonttools>=4.50' 'matplotlib>=3.8'
    python scripts/build_font.py

matplotlib has the whole font (757 kB, version 2.35) with its licence, which allows changed copies
under this name. Other scripts, most symbols and the hinting are left out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib
from fontTools import subset
from fontTools.ttLib import TTFont

FOLDER = Path(__file__).parents[1] / "runtime" / "emotion_runtime" / "drawing" / "dejavu"
CODE_POINT_RANGES = (
    (0x0020, 0x007E),  # Basic Latin
    (0x00A0, 0x02FF),  # Latin-1, Latin Extended-A and -B, IPA, modifier letters
    (0x0300, 0x036F),  # combining marks
    (0x0370, 0x03FF),  # Greek
    (0x0400, 0x052F),  # Cyrillic
    (0x1D00, 0x1DFF),  # phonetic letters, further marks
    (0x1E00, 0x1FFF),  # Latin Extended Additional, Greek Extended
    (0x2000, 0x20CF),  # punctuation, superscripts, currencies
    (0x2100, 0x21FF),  # letterlike symbols, number forms, arrows
    (0x2C60, 0x2C7F),  # Latin Extended-C
    (0x2DE0, 0x2DFF),  # Cyrillic Extended-A
    (0xA640, 0xA69F),  # Cyrillic Extended-B
    (0xA720, 0xA7FF),  # Latin Extended-D
    (0xFB00, 0xFB06),  # ligatures
    (0xFFFD, 0xFFFD),  # the replacement character
)


def main() -> None:
    """Write the font and its licence."""
    source = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = TTFont(source / "DejaVuSans.ttf", recalcTimestamp=False)
    available = font.getBestCmap()
    options = subset.Options(
        layout_features=["kern", "mark", "mkmk", "ccmp", "locl"],
        hinting=False,
        legacy_kern=True,
        notdef_outline=True,
        name_IDs=["*"],
        drop_tables=[*subset.Options().drop_tables, "FFTM"],
    )
    subsetter = subset.Subsetter(options)
    subsetter.populate(
        unicodes=[
            code
            for first, last in CODE_POINT_RANGES
            for code in range(first, last + 1)
            if code in available
        ]
    )
    subsetter.subset(font)
    FOLDER.mkdir(exist_ok=True)
    font.save(FOLDER / "DejaVuSans.ttf")
    shutil.copyfile(source / "LICENSE_DEJAVU", FOLDER / "LICENSE")


if __name__ == "__main__":
    main()
