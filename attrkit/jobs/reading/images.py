"""Folders of images, each a row: three channels between 0 and 1, scaled and normalised as a job says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrkit.errors import MissingExtra, UsageError
from attrkit.jobs.job import Data
from attrkit.jobs.places import IMAGES

if TYPE_CHECKING:
    from torch import Tensor


class Images:
    """Columns: ``image``, shape ``(3, height, width)``, float32; ``file``, relative to the folder; ``folder``.

    The last counts the folders in which the images lie, in order of their names: a class, where each has a folder.

    Raises:
        MissingExtra: Pillow is not installed.
        UsageError: there are no images.
    """

    columns = ("image", "file", "folder")
    explained = ("image",)

    def __init__(self, places: Sequence[Path], data: Data) -> None:
        try:
            import PIL.Image  # noqa: F401 - whether it is there
        except ImportError as error:
            raise MissingExtra("reading images", "images", "Pillow") from error
        root = places[0] if places[0].is_dir() else Path(os.path.commonpath([place.parent for place in places]))
        found = root.rglob("*") if places[0].is_dir() else places
        self._files = sorted(path for path in found if path.suffix.lower() in IMAGES)
        if not self._files:
            raise UsageError(f"data {data.path!r}: there are no images in it ({', '.join(IMAGES)})")
        if len(data.mean) != len(data.std) or len(data.mean) not in (0, 3):
            raise UsageError("data: mean and std have three numbers each, for red, green and blue, or are left out together")
        self._root, self._data = root, data
        self._folders = {folder: place for place, folder in enumerate(sorted({path.parent for path in self._files}))}

    def __len__(self) -> int:
        return len(self._files)

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        """The images, where they lie, and in which of the folders."""
        import torch

        files = self._files[start:stop]
        images = [self._image(path) for path in files]
        if len({image.shape for image in images}) > 1:
            sizes = sorted({tuple(image.shape[1:]) for image in images})
            raise UsageError(f"data: images have sizes {sizes[0]} and {sizes[-1]}; give data.size, like [224, 224]")
        return {
            "image": torch.stack(images),
            "file": [path.relative_to(self._root).as_posix() for path in files],
            "folder": torch.tensor([self._folders[path.parent] for path in files]),
        }

    def _image(self, path: Path) -> Tensor:
        import numpy as np
        import torch
        from PIL import Image

        with Image.open(path) as opened:
            image = opened.convert("RGB")
            if self._data.size:
                height, width = self._data.size
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            found = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        if not self._data.mean:
            return found
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (self._data.mean, self._data.std))
        return (found - mean) / std
