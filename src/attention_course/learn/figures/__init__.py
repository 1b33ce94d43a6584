"""The figures of the course: one style, data that a test can read, alt text.

Every drawing function returns a matplotlib ``Figure``; ``show`` publishes it. All of
them accept torch tensors (on any device, with or without gradient), numpy arrays and
lists. Matplotlib is imported by the first figure, not by this package.

>>> figure = attention_map(attn_weights, tokens, tokens, "'it' looks back at 'cat'")
>>> show(figure, alt="Heat map: in the row 'it', the cell under 'cat' is darkest.")
"""

from .attention import (
    attention_map,
    attention_maps,
    attention_on_image,
    draw_map,
    draw_on_image,
)
from .charts import bars, curves, grouped_bars, label_lines
from .flow import shape_flow
from .pictures import images
from .publish import figure_data, show
from .style import (
    DIVERGING,
    INK,
    MUTED,
    PALETTE,
    SEQUENTIAL,
    diverging_map,
    new_figure,
    sequential_map,
    set_title,
    small_multiples,
    style,
)

__all__ = [
    "DIVERGING",
    "INK",
    "MUTED",
    "PALETTE",
    "SEQUENTIAL",
    "attention_map",
    "attention_maps",
    "attention_on_image",
    "bars",
    "curves",
    "diverging_map",
    "draw_map",
    "draw_on_image",
    "figure_data",
    "grouped_bars",
    "images",
    "label_lines",
    "new_figure",
    "sequential_map",
    "set_title",
    "shape_flow",
    "show",
    "small_multiples",
    "style",
]
