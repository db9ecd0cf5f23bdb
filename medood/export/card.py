"""The map over a single picture, with what was found beneath it and the colour bar beside it. Drawn without matplotlib: in milliseconds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medood.core.files.atomic import atomic_file
from medood.core.map_scale import MapScale
from medood.export.colours import colour_table
from medood.export.verdict import Verdict

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

BACKGROUND, INK, FAINT = (18, 18, 18), (235, 235, 235), (170, 170, 170)
WARNING = (255, 196, 84)

_WIDTH = 480  # pixels that the longer side of a small picture is enlarged to, by a whole factor


def enlargement(shape: tuple[int, int]) -> int:
    return max(1, round(_WIDTH / max(shape)))


def write_card(path: Path, pixels: np.ndarray, scale: MapScale, verdict: Verdict) -> None:
    """Write uint8 RGB (rows, columns, 3) as they are, in the upper left corner of a PNG with the colour bar and the verdict."""
    from PIL import Image, ImageDraw, ImageFont

    high, wide = pixels.shape[:2]
    unit = max(12, max(high, wide) // 36)
    font = ImageFont.load_default(size=unit)
    width = max(wide, 24 * unit) + 8 * unit
    lines = _wrapped(verdict, font, width - 2 * unit)
    card = Image.new("RGB", (width, max(high, 10 * unit) + round(unit * (1.4 * len(lines) + (1 if lines else 0)))), BACKGROUND)
    card.paste(Image.fromarray(pixels), (0, 0))
    if verdict.banner:
        card.paste(_across(Image.fromarray(pixels), verdict.banner), (0, 0))
    draw = ImageDraw.Draw(card)
    _draw_bar(card, draw, scale, font, unit, left=max(wide, 24 * unit) + unit, height=max(high, 10 * unit))
    top = max(high, 10 * unit) + 0.5 * unit
    for text, ink in lines:
        draw.text((unit, top), text, fill=ink, font=font)
        top += 1.4 * unit
    with atomic_file(path) as part:
        card.save(part, format="PNG", compress_level=3)


def _across(picture: Picture, text: str) -> Picture:
    """The picture with the text from corner to corner."""
    from PIL import Image, ImageDraw, ImageFont

    wide, high = picture.size
    length = math.hypot(wide, high)
    font = ImageFont.load_default(size=max(8, int(1.2 * length / len(text))))
    left, top, right, bottom = font.getbbox(text)
    strip = Image.new("RGBA", (round(right - left) + 8, round(bottom - top) + 8), (0, 0, 0, 0))
    ImageDraw.Draw(strip).text((4 - left, 4 - top), text, fill=(*WARNING, 200), font=font)
    strip = strip.rotate(math.degrees(math.atan2(high, wide)), expand=True, resample=Image.Resampling.BILINEAR)
    strip.thumbnail((wide, high))
    marked = picture.convert("RGBA")
    marked.alpha_composite(strip, ((wide - strip.width) // 2, (high - strip.height) // 2))
    return marked.convert("RGB")


def _draw_bar(card: Picture, draw: ImageDraw, scale: MapScale, font: FreeTypeFont | ImageFont, unit: int, left: int, height: int) -> None:
    """The palette as it is, from low to high; what lies below the threshold has no colour."""
    from PIL import Image

    top, bottom = round(2.2 * unit), height - 2 * unit
    colours = colour_table()[np.linspace(255, 0, bottom - top).round().astype(int), :3]
    card.paste(Image.fromarray(np.repeat(colours[:, np.newaxis], unit, axis=1)), (left, top))
    draw.rectangle((left - 1, top - 1, left + unit, bottom), outline=FAINT)
    draw.text((left, 0.5 * unit), "map value", fill=INK, font=font)
    for share in (0.0, 0.5, 1.0):
        place = bottom + share * (top - bottom)
        draw.line((left + unit, place, left + 1.4 * unit, place), fill=FAINT)
        draw.text((left + 1.7 * unit, place - 0.6 * unit), f"{scale.low + share * (scale.high - scale.low):.3g}", fill=INK, font=font)


def _wrapped(verdict: Verdict, font: FreeTypeFont | ImageFont, width: int) -> list[tuple[str, tuple[int, int, int]]]:
    """Lines of text that fit into the width, and their colours."""
    lines: list[tuple[str, tuple[int, int, int]]] = []
    for text, ink in [(verdict.headline, INK), *((warning, WARNING) for warning in verdict.warnings)]:
        line = ""
        for word in text.split(" "):
            longer = f"{line} {word}" if line else word
            if line and font.getlength(longer) > width:
                lines.append((line, ink))
                longer = word
            line = longer
        if line:
            lines.append((line, ink))
    return lines
