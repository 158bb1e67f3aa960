"""Pictures: what they show is what was computed; nothing is normalised, shown or left in global state."""

import base64
import re
import struct
import subprocess
import sys
import zlib

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import attrs  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from attrkit import Explanation  # noqa: E402
from attrkit.errors import MissingExtra, UnknownName, UsageError, UsageTypeError  # noqa: E402
from attrkit.views.colours import STOPS, paint, png, rgb, scale_of  # noqa: E402
from attrkit.views.html import summary  # noqa: E402
from attrkit.views.pictures import picture  # noqa: E402
from attrkit.views.plots import draw, inline  # noqa: E402
from attrkit.views.report import write_report  # noqa: E402
from attrkit.views.report.rendering import _environment  # noqa: E402
from attrkit.views.svg import bars, number  # noqa: E402


@pytest.fixture
def image():
    """Three channels of 2 by 3 pixels, two examples."""
    values = torch.arange(-18.0, 18.0).reshape(2, 3, 2, 3)
    return Explanation(
        values={"x": values}, inputs={"x": values.abs()}, method="m", target=[1, 2], delta=torch.tensor([0.0, -0.5])
    )


@pytest.fixture
def row():
    """Thirty features, one example: 1, -2, 3, -4 ..."""
    return Explanation(values={"x": torch.arange(1.0, 31.0)[None] * torch.tensor([1.0, -1.0]).repeat(15)}, method="m")


# What is shown


def test_channels_are_summed_and_values_kept(image):
    shown = picture(image, 1)
    assert shown.kind == "image"
    assert np.array_equal(shown.values, image.values["x"][1].sum(0).numpy())


def test_the_input_lies_under_a_picture_only_where_the_shapes_agree(image):
    assert picture(image).under.shape == (2, 3)
    assert (picture(image).under.min(), picture(image).under.max()) == (0, 1)
    assert picture(attrs.evolve(image, inputs={"x": torch.zeros(2, 3, 4, 6)})).under is None
    assert picture(attrs.evolve(image, where="layer")).under is None


def test_the_largest_features_come_first_and_the_rest_is_summed(row):
    shown = picture(row).bars()
    assert [label for label, _ in shown] == [*map(str, range(29, 17, -1)), "sum of 18 others"]
    assert [value for _, value in shown[:3]] == [-30, 29, -28]
    assert sum(value for _, value in shown) == row.values["x"].sum()
    assert len(picture(attrs.evolve(row, values={"x": torch.ones(1, 12)})).bars()) == 12


def test_features_of_images_are_called_by_their_indices(image):
    assert picture(image, kind="bar").bars()[0] == ("0,0,0", -18)


def test_values_that_are_no_numbers_take_no_part_in_the_scale():
    values = np.array([[np.nan, np.inf], [-2.0, 1.0]])
    assert scale_of(values) == 2
    assert scale_of(np.zeros((2, 2))) == 1
    assert tuple(paint(values, 2)[0, 1]) == rgb(STOPS[-1])


def test_a_shrunk_picture_keeps_means(image):
    values = torch.rand(1, 1, 100, 7)
    shown = picture(Explanation(values={"x": values}, method="m")).shrunk(10)
    assert shown.values.shape == (10, 7)
    assert np.allclose(shown.values, values[0, 0].reshape(10, 10, 7).mean(1))
    assert np.array_equal(picture(image).shrunk(10).values, picture(image).values)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"name": "y"}, UnknownName, "no attributions for 'y'. Names: x"),
        ({"name": "xx"}, UnknownName, "Did you mean 'x'"),
        ({"kind": "bars"}, UnknownName, "kind='bars' is no kind of picture. Did you mean 'bar'? Kinds: auto, bar, image"),
        ({"example": 2}, UsageError, "example=2 is out of range: 'x' has 2 examples"),
        ({"example": -3}, UsageError, "example=-3 is out of range"),
        ({"example": 1.0}, UsageError, "example=1.0 is out of range"),
        ({"kind": "bar", "labels": ("a", "b")}, UsageError, "labels has 2 entries for 18 features"),
        ({"ax": "axes"}, UsageTypeError, "ax must be matplotlib axes, got str"),
    ],
)
def test_a_wrong_argument_is_named(image, given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        draw(image, **given)


def test_an_image_needs_two_dimensions(row):
    with pytest.raises(
        UsageError, match=r"kind='image' needs two dimensions per example, 'x' has shape \(30,\); use kind='bar'"
    ):
        draw(row, kind="image")


def test_of_several_names_one_must_be_chosen(image):
    both = attrs.evolve(image, values={"a": torch.ones(1, 3), "b": torch.ones(1, 3)})
    with pytest.raises(UsageError, match="the explanation has 2 names; pass name=, one of: a, b"):
        draw(both)
    assert draw(both, name="b").get_title() == "m, b, target 1"


# Colours


def test_zero_is_neutral_and_the_ends_are_symmetric():
    middle, low, high = paint(np.array([[0.0, -3.0, 3.0]]), 3.0)[0]
    assert tuple(middle) == rgb(STOPS[4])
    assert (tuple(low), tuple(high)) == (rgb(STOPS[0]), rgb(STOPS[-1]))


def test_dark_pixels_of_the_input_darken_the_colours():
    bright, dark = paint(np.zeros((1, 2)), 1.0, np.array([[1.0, 0.0]]))[0]
    assert tuple(bright) == rgb(STOPS[4])
    assert all(d < b for d, b in zip(dark, bright, strict=True))


def test_a_png_holds_its_pixels():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    file = png(pixels)
    assert struct.unpack(">2I", file[16:24]) == (4, 2)
    start = file.index(b"IDAT") + 4
    lines = zlib.decompress(file[start : file.index(b"IEND") - 8])
    assert lines == b"".join(b"\0" + line.tobytes() for line in pixels)


# matplotlib


def test_a_plot_has_a_symmetric_scale_and_its_own_figure(image):
    axes = draw(image, 1)
    assert axes.get_title() == "m, x, target 2"
    (drawn,) = axes.images
    assert np.array_equal(drawn.get_array(), paint(picture(image, 1).values, picture(image, 1).scale, picture(image, 1).under))
    (scale,) = [other for other in axes.figure.axes if other is not axes]
    assert scale.get_ylim() == (-picture(image, 1).scale, picture(image, 1).scale)


def test_bars_have_the_values_lengths(row):
    axes = row.plot()
    assert [bar.get_width() for bar in axes.patches] == [value for _, value in picture(row).bars()]
    assert [label.get_text() for label in axes.get_yticklabels()] == [label for label, _ in picture(row).bars()]
    assert draw(row, labels=[f"f{i}" for i in range(30)]).get_yticklabels()[0].get_text() == "f29"


def test_given_axes_are_drawn_into(image):
    axes = Figure().add_subplot()
    assert draw(image, ax=axes) is axes
    assert axes.images


def test_pyplot_is_left_alone(tmp_path):
    code = (
        "import sys, torch; from attrkit import Explanation; "
        "e = Explanation(values={'x': torch.randn(1, 4, 4)}, method='m'); e.plot(); e.plot(kind='bar'); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path).strip() == "False"


def test_a_figure_becomes_markup(image):
    svg = inline(draw(image).figure, "a <picture>")
    assert svg == inline(draw(image).figure, "a <picture>")
    assert svg.startswith('<svg role="img" aria-label="a &lt;picture&gt;"')
    assert svg.endswith("</svg>")
    assert "http" not in svg
    assert "currentColor" in svg
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg)) <= set(ids)
    assert not set(ids) & set(re.findall(r'\bid="([^"]+)"', inline(draw(image).figure, "another")))


def test_a_figure_becomes_an_image(image):
    data = re.fullmatch(r'<img alt="x" src="data:image/png;base64,([^"]+)">', inline(draw(image).figure, "x", format="png"))[1]
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(image, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(
        MissingExtra, match=r"a plot needs matplotlib, which is not installed; run: pip install 'attrkit\[plot\]'"
    ):
        draw(image)


# HTML


def test_a_summary_says_what_matters(image):
    text = image._repr_html_()
    for expected in (
        "<b>m</b>",
        "1, 2",
        "at most 0.5",
        "2 \N{MULTIPLICATION SIGN} 3 \N{MULTIPLICATION SIGN} 2",
        "data:image/png;base64,",
    ):
        assert expected in text
    assert "http" not in text


def test_a_summary_needs_no_matplotlib(image, row, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert summary(image).count("<image") == 2
    assert summary(row).count("<image") == 1


def test_a_summary_is_small(image):
    large = attrs.evolve(image, values={"x": torch.randn(50, 3, 500, 500)}, target=list(range(50)))
    text = summary(large)
    assert len(text) < 200_000
    assert "and 44 more" in text
    assert "(50 examples)" in text


EVIL = "<script>alert(1)</script>\"'&"


def test_a_summary_is_escaped():
    text = summary(
        Explanation(values={EVIL: torch.ones(1, 4)}, method=EVIL, options={"o": EVIL}, target=EVIL, warnings=(EVIL,))
    )
    assert "<script" not in text


def test_a_report_is_escaped_and_needs_nothing_else(tmp_path):
    rule = {"path": EVIL, "operation": EVIL, "rule": EVIL, "parameters": {EVIL: EVIL}, "entry": EVIL, "origin": ""}
    evil = Explanation(
        values={EVIL: torch.ones(1, 4)},
        inputs={EVIL: torch.ones(1, 4)},
        method=EVIL,
        options={"o": EVIL},
        target=EVIL,
        rules=(rule,),
        model={"class": EVIL, "fingerprint": EVIL},
        versions={EVIL: EVIL},
        warnings=(EVIL,),
    )
    text = write_report(tmp_path / "r.html", {EVIL: evil}, command=EVIL, labels=[EVIL] * 4).read_text()
    assert "<script" not in text
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", text)
    assert "http" not in text


def test_a_report_shows_every_method_and_example(image, tmp_path):
    text = write_report(
        tmp_path / "r.html", {"one": image, "two": image}, command="attrkit explain", seconds={"one": 1.5}
    ).read_text()
    for expected in ("one, two", "attrkit explain", "1.50", "example 0", "example 1", "target 1", "target 2"):
        assert expected in text
    assert text.count("<image") == 2 * (2 + 1)  # two examples, two methods and the input


def test_a_report_of_a_table_has_bars_with_names(row, tmp_path):
    text = write_report(tmp_path / "r.html", {"m": row}, labels=[f"column {i}" for i in range(30)]).read_text()
    assert "column 29" in text
    assert "sum of 18 others" in text


def test_a_report_says_how_many_examples_it_leaves_out(image, tmp_path):
    assert "The first 1 of 2 examples" in write_report(tmp_path / "r.html", {"m": image}, examples=1).read_text()


def test_a_report_needs_an_explanation(tmp_path):
    with pytest.raises(UsageError, match="a report needs at least one explanation"):
        write_report(tmp_path / "r.html", {})


def test_without_jinja_the_extra_is_named(image, tmp_path, monkeypatch):
    _environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(
        MissingExtra, match=r"a report needs jinja2, which is not installed; run: pip install 'attrkit\[demo\]'"
    ):
        write_report(tmp_path / "r.html", {"m": image})
    assert not list(tmp_path.iterdir())


def test_bars_survive_what_is_no_number():
    text = bars(picture(Explanation(values={"x": torch.tensor([[1.0, float("nan"), float("-inf")]])}, method="m")), "alt")
    assert text.count("<rect") == 3


def test_numbers_are_short():
    assert [number(x) for x in (0.0, 1234.5, -0.00012345, 2.0)] == ["0", "1.23e+03", "\N{MINUS SIGN}0.000123", "2"]
