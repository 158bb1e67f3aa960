"""Progress bars on stderr."""

from __future__ import annotations

from tqdm import tqdm


class Bar(tqdm):  # type: ignore[type-arg]  # which tqdm itself has not
    """A bar without tqdm's monitor, a thread that would outlive it."""

    monitor_interval = 0
