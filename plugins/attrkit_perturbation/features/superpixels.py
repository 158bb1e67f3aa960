"""Superpixels: regions of an image that look alike, by scikit-image."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from attrkit import segmenter
from attrkit.errors import MissingExtra, UsageError, UsageTypeError
from attrkit.protocols import Tensors
from attrkit_perturbation.features.segmenters import counted_through


@segmenter("superpixels", references=("doi:10.1109/TPAMI.2012.120", "doi:10.1007/978-3-540-88693-8_52"))
def superpixels(
    point: Tensors,
    *,
    algorithm: Literal["slic", "quickshift", "felzenszwalb"] = "slic",
    parameters: Mapping[str, Any] | None = None,
) -> Tensors:
    """Regions of each image that look alike, its own for each example; needs the extra ``superpixels``.

    Each image, shape ``(channels, height, width)``, is stretched to values between 0 and 1 first.

    Args:
        algorithm: ``slic``, ``quickshift`` or ``felzenszwalb`` of ``skimage.segmentation``.
        parameters: what that function takes beside the image, like ``{"n_segments": 50}``.

    Raises:
        UsageError: the inputs are no images, or the function refuses its parameters.
        UsageTypeError: the parameters are no mapping.
        MissingExtra: scikit-image is not installed.
    """
    try:
        from skimage import segmentation  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtra("segmenter 'superpixels'", "superpixels", "scikit-image") from None

    if parameters is not None and not isinstance(parameters, Mapping):
        raise UsageTypeError(f"parameters must be a mapping, like {{'n_segments': 50}}, got {parameters!r}")

    def one(image: Tensor) -> Tensor:
        pixels = image.detach().cpu().double()
        low, high = pixels.amin(), pixels.amax()
        shown = ((pixels - low) / (high - low).clamp_min(1e-12)).movedim(0, -1).numpy()
        if algorithm == "quickshift" and shown.shape[-1] != 3:
            shown = np.repeat(shown.mean(-1, keepdims=True), 3, -1)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Got image with third dimension")  # of any number of channels, which is meant
                found = getattr(segmentation, algorithm)(shown, channel_axis=-1, **(parameters or {}))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"segmenter 'superpixels': skimage.segmentation.{algorithm} refuses its parameters: {error}"
            ) from error
        return torch.from_numpy(found.astype(np.int64) - found.min())

    for x in point:
        if x.dim() != 4:
            raise UsageError(
                f"segmenter 'superpixels' needs images, shape (batch, channels, height, width), got {tuple(x.shape)}"
            )
    return counted_through([torch.stack([one(image) for image in x])[:, None].to(x.device) for x in point])
