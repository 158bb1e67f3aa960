"""Both doors of attrkit, each call of which must leave the model and everything around it as it was."""

from __future__ import annotations

import pytest

import attrkit


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models are small: on busy cores, threads cost ten times what they save."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def explain(untouched):
    """``attrkit.explain`` under the fixture ``untouched``."""

    def call(model, inputs, method, **options):
        with untouched(model, *(inputs if isinstance(inputs, tuple) else (inputs,))):
            return attrkit.explain(model, inputs, method, **options)

    return call


@pytest.fixture
def attribute(untouched):
    """``attribute("Saliency", model)(inputs, ...)``: a class of ``attrkit.attr`` under the fixture ``untouched``."""

    def construct(name, model, *args, **kwargs):
        made = getattr(attrkit.attr, name)(model, *args, **kwargs)

        def call(inputs, *args, **kwargs):
            with untouched(model, *(inputs if isinstance(inputs, tuple) else (inputs,))):
                return made.attribute(inputs, *args, **kwargs)

        return call

    return construct
