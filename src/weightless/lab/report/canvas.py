"""matplotlib's canvas for the PNG pictures, imported where a picture is drawn and without a home folder as well.

matplotlib keeps its list of fonts in the user's home, warns on standard error where it cannot, and reads the user's
style from there.  So it is given a folder of ours (`base/compiled.py` says which), unless MPLCONFIGDIR names one.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from weightless.base.compiled import writable_folder

_FOLDER = "MPLCONFIGDIR"


def agg_canvas(width: float, height: float, dpi: int, **options: Any) -> Any:
    """A canvas of matplotlib's Agg of width * dpi by height * dpi pixels, with its empty `figure`.

    `options` are those of matplotlib's Figure.
    """
    if "matplotlib" not in sys.modules:
        os.environ[_FOLDER] = str(writable_folder(_FOLDER, "lists of fonts"))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return FigureCanvasAgg(Figure(figsize=(width, height), dpi=dpi, **options))
