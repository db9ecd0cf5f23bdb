"""Annotations of hyperparameters that say more than int or float. The catalogue knows them by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

PositiveInt = Annotated[int, Field(gt=0, lt=2**31)]
NonNegativeInt = Annotated[int, Field(ge=0, lt=2**31)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Fit = Literal["pad", "stretch", "crop", "keep"]
"""How an image becomes one of another size: see `Preparation` in medood/recipe/recipe.py."""
Pool = Literal["mean", "maximum", "percentile"]
"""How a map becomes the score of its image."""
Statistic = Literal["mean", "maximum"]
"""What becomes of a channel of features over a part of an image."""
Residual = Literal["mse", "l1", "ssim", "perceptual"]
"""How far a reconstruction is from its image: see medood/nets/error_maps.py."""
