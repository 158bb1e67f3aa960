"""Attribution of models that return futures, as a future."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch

from attrkit.attributor import Attributor
from attrkit.errors import UsageTypeError


def in_future(attribution: Attributor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A future of what ``attribute`` returns, while a thread of its own waits for each future of the model.

    What is wrong with the arguments, up to the first call of the model, is raised here.

    Raises:
        UsageTypeError: the model returned no future.
    """
    begun, result = threading.Event(), torch.futures.Future()  # type: ignore[var-annotated]
    waiting = copy.copy(attribution)
    waiting.forward_func = _waiting(attribution.forward_func, begun)
    early: list[Exception] = []

    def work() -> None:
        try:
            result.set_result(waiting.attribute(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is raised where the future is waited for
            if not begun.is_set():
                early.append(error)
            result.set_exception(error)
        finally:
            begun.set()

    threading.Thread(target=work, name=f"{type(attribution).__name__}.attribute_future", daemon=True).start()
    begun.wait()
    if early:
        raise early[0]
    return result


def _waiting(forward: Callable[..., Any], begun: threading.Event) -> Callable[..., Any]:
    @functools.wraps(forward, updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        future = forward(*args, **kwargs)
        if not isinstance(future, torch.futures.Future):
            raise UsageTypeError(
                f"attribute_future needs a model that returns a torch.futures.Future, it returned {type(future).__name__}; "
                "use attribute"
            )
        begun.set()
        return future.wait()

    return call
