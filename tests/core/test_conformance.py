"""The conformance kit: our own plugins pass it, planted faults are named by it, and it is strict about what is expected."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context

import pytest

torch = pytest.importorskip("torch")

import attrkit  # noqa: E402
from attrkit.coalitions import Estimate  # noqa: E402
from attrkit.errors import UsageError, UsageTypeError  # noqa: E402
from attrkit.registry import KINDS as REGISTERED  # noqa: E402
from attrkit.registry import registry  # noqa: E402
from attrkit.testing import conformance  # noqa: E402
from attrkit.testing.conformance import judged, verdicts  # noqa: E402
from attrkit.testing.kinds import KINDS  # noqa: E402

BOX = {"low": -3.0, "high": 3.0}

#: Some of our own of every kind, and options that they need.
OURS = [
    ("method", "saliency", {}),
    ("rule", "epsilon", {}),
    ("rule", "gamma", {}),
    ("rule", "zplus", {}),
    ("rule", "alphabeta", {"stabilizer": 1e-9, "bias": "distribute"}),
    ("rule", "uniform", {}),
    ("rule", "reveal_cancel", {}),
    ("rule", "guided", {}),
    ("rule", "expand", {}),
    ("ruleset", "epsilon_plus", {}),
    ("ruleset", "attnlrp", {}),
    ("ruleset", "deeplift_rescale", {}),
    ("ruleset", "epsilon_gamma_box", BOX),
    ("replacement", "mean", {}),
    ("replacement", "noise", {}),
    ("replacement", "permuted", {}),
    ("replacement", "mask_token", {"token": 3}),
    ("segmenter", "elements", {}),
    ("segmenter", "tokens", {}),
    ("design", "leverage", {}),
    ("design", "kernel", {}),
    ("estimator", "exact", {}),
    ("estimator", "leverage", {}),
    ("estimator", "antithetic", {}),
    ("surrogate", "ridge", {}),
    ("surrogate", "lasso", {}),
]


def failures(given, kind, options=None):
    """The checks that fail, and what they say."""
    found = {}
    for verdict in verdicts(given, options, kind=kind):
        if verdict.error is not None:
            found.setdefault(verdict.check.name, str(verdict.error))
    return found


def fault(given, kind, check):
    """What one check says is wrong, at the first place where something is."""
    for _, subject, each in KINDS[kind].cases(given, {}):
        if each.name == check:
            try:
                judged(each, subject)
            except Exception as error:  # noqa: BLE001 - whatever it raises is what it says
                return str(error)
    return None


@pytest.mark.parametrize(("kind", "name", "options"), OURS, ids=lambda value: value if isinstance(value, str) else "")
def test_our_own_keep_their_promises(kind, name, options):
    needed, listed = ("zplus", "rules") if kind == "ruleset" else (name, f"{kind}s")
    if needed not in registry.all(listed):
        pytest.skip(f"{name} is kept out of this run")
    assert failures(name, kind, options) == {}


def test_the_serial_executor_keeps_its_promises():
    from attrkit.runner import Serial

    assert failures(Serial(), "executor") == {}


def test_every_kind_that_can_be_registered_can_be_checked():
    assert {kind.removesuffix("s") for kind in REGISTERED} | {"executor"} == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_says_its_promise(kind):
    for name, check in KINDS[kind].checks.items():
        assert check.name == name
        assert check.summary.endswith("."), name


# Planted faults: each is caught by a check that names it. What is right about them is as a careful author has it.


def shared(step, relevance, *, weight: object = None):
    """Share by contribution, without a stabiliser."""
    share = relevance / torch.where(step.output == 0, torch.inf, step.output)
    return step.input * step.transpose(share, weight)


def squared(step, relevance):
    return shared(step, relevance.abs() * relevance)


def mixing(step, relevance):
    return shared(step, relevance) + shared(step, relevance).mean(0, keepdim=True)


def unstabilized(step, relevance):
    return step.input * step.transpose(relevance / step.output)


def writing(step, relevance):
    step.input.clamp_(min=0)
    return shared(step, relevance)


def losing(step, relevance):
    return 0.9 * shared(step, relevance)


def making(step, relevance):
    return shared(step, relevance) + 0.01 * step.input


def graph(step, relevance):
    return shared(step, relevance).requires_grad_()


def rough(step, relevance):
    return shared(step, relevance).float()


def drawing(step, relevance):
    return shared(step, relevance) * torch.rand(())


def relative(step, relevance):
    scale = step.output.flatten(1).norm(dim=1).reshape(-1, *[1] * (step.output.dim() - 1))
    return step.transpose(relevance / (step.output + 0.1 * scale))


def tamed(step, relevance):
    return 0.5 * relevance


def dense_only(step, relevance):
    return step.input * ((relevance / (step.output + 1e-6)) @ step.weight)


def peeking(step, carried):
    return carried * (step.input.sum() > 0)


def unchecked(step, relevance, *, gamma: float | object = 0.25):
    return shared(step, relevance, weight=lambda w: w + gamma * w.clamp(min=0))


RULES = [
    (squared, {}, "is_linear_in_what_it_is_given"),
    (mixing, {}, "examples_do_not_mix"),
    (unstabilized, {}, "is_finite_at_zero"),
    (writing, {}, "writes_into_nothing_of_the_step"),
    (losing, {"conserves": "without_bias"}, "relevance_is_conserved"),
    (shared, {"conserves": "yes"}, "relevance_is_conserved"),
    (shared, {"returns": "quotient", "conserves": "without_bias"}, "relevance_is_conserved"),
    (shared, {"returns": "cotangent"}, "returns_what_it_declares"),
    (making, {}, "nothing_carried_gives_nothing"),
    (graph, {}, "returns_what_it_declares"),
    (rough, {}, "returns_what_it_declares"),
    (drawing, {}, "gives_the_same_twice"),
    (drawing, {}, "leaves_the_model_alone"),
    (relative, {"returns": "quotient", "all_outputs": False}, "outputs_without_relevance_do_not_matter"),
    (relative, {"returns": "quotient", "all_outputs": False}, "facts_change_no_number"),
    (tamed, {"operations": {"activation"}, "identity": True}, "identity_is_what_it_says"),
    (tamed, {"operations": {"activation"}, "identity": True}, "facts_change_no_number"),
    (dense_only, {}, "returns_what_it_declares"),
    (peeking, {"operations": {"sum"}, "returns": "cotangent", "sees_inputs": False}, "sees_no_inputs_where_it_says_so"),
    (unchecked, {}, "refuses_options_that_are_nonsense"),
    (shared, {"operations": {"lineer"}}, "is_for_an_operation"),
]


@pytest.mark.parametrize(("function", "facts", "check"), RULES, ids=[f"{f.__name__}-{check}" for f, _, check in RULES])
def test_a_fault_of_a_rule_is_named(function, facts, check):
    planted = attrkit.rule("planted", **facts)(function)
    assert fault(planted, "rule", check)
    assert "docstring" in fault(planted, "rule", "is_described")


def test_a_share_for_each_operand():
    planted = attrkit.rule("planted", operations={"mul"}, returns="shares")(lambda step: (0.5,))
    assert "1 shares for 2 operands" in fault(planted, "rule", "returns_a_share_for_each_operand")


def ruleset(*rules, **keys):
    """A document."""
    listed = [{"id": f"r{i}", **entry} for i, entry in enumerate(rules)]
    return {"schema": "attrkit/ruleset@1", "name": "planted", "doc": "A planted fault.", "rules": listed, **keys}


GRADIENT = {"match": {"op": "linear_like"}, "rule": "gradient"}
PASS = {"match": {"op": "activation"}, "rule": "pass", "optional": True}
OPEN = {"fallback": {"linear": "gradient", "nonlinear": "gradient", "unknown": "gradient"}}
RULESETS = [
    (ruleset({"match": {"op": "linear_like"}, "rule": "epsilonn"}), "reads_without_problems"),
    (ruleset(GRADIENT, PASS, doc=""), "is_described"),
    (ruleset(GRADIENT, PASS, params={"gamma": {"default": 1.0, "doc": "nothing"}}), "every_parameter_is_used"),
    (ruleset(GRADIENT, {**GRADIENT, "match": {"op": "conv"}}, PASS), "every_entry_can_match"),
    (ruleset({**GRADIENT, "match": {}}, PASS), "every_entry_can_match"),
    (
        ruleset({"match": {"op": "mul"}, "rule": "uniform", "optional": True}, fallback={"unknown": "gradient"}),
        "covers_a_network",
    ),
    (ruleset({"match": {"op": "linear_like"}, "rule": "stop"}, **OPEN), "says_something"),
    (ruleset(PASS, {"match": {"op": "pow"}, "rule": "uniform", "optional": True}), "covers_a_network"),
]


@pytest.mark.parametrize(("document", "check"), RULESETS, ids=[check for _, check in RULESETS])
def test_a_fault_of_a_ruleset_is_named(document, check):
    if "zplus" not in registry.all("rules"):
        pytest.skip("the rules are kept out of this run")
    assert fault(document, "ruleset", check)


def outside(problem):
    return lambda numbers: tuple(torch.randn(len(numbers), *x.shape).to(x) for x in problem.point)


def one_stream(problem):
    generator = problem.common_generator(0)
    return lambda numbers: tuple(torch.randn(len(numbers), *x.shape, generator=generator).to(x) for x in problem.point)


def zeroing(problem):
    for x in problem.point:
        x[0] = 0
    return problem.baseline


def doubled(problem):
    return tuple(x.double() * 0.5 for x in problem.point)


def wide(problem):
    return tuple(torch.zeros(len(x) + 1, *x.shape[1:]).to(x) for x in problem.point)


def first_only(problem):
    return problem.point[:1]


def undrawn(problem):
    return lambda numbers: tuple(torch.zeros(len(numbers), *x.shape).to(x) for x in problem.point)


def unshaped(problem):
    return lambda numbers: tuple(torch.zeros_like(x) for x in problem.point)


def infinite(problem):
    return tuple((x / x).to(x) for x in problem.point)


def picky(problem):
    raise UsageError("not these")


def crashing(problem):
    if len(problem.point[0]) == 1:
        raise IndexError("there is no second example")
    return tuple(x[[1]] for x in problem.point)


REPLACEMENTS = [
    (outside, "equal_numbers_are_equal_draws"),
    (outside, "draws_follow_the_seed"),
    (one_stream, "equal_numbers_are_equal_draws"),
    (zeroing, "leaves_everything_alone"),
    (doubled, "keeps_the_type"),
    (wide, "returns_what_replaces"),
    (first_only, "returns_what_replaces"),
    (undrawn, "different_numbers_are_different_draws"),
    (unshaped, "returns_what_replaces"),
    (infinite, "is_finite"),
    (picky, "is_for_some_inputs"),
    (crashing, "takes_a_batch_of_one"),
]


@pytest.mark.parametrize(("function", "check"), REPLACEMENTS, ids=[f"{f.__name__}-{check}" for f, check in REPLACEMENTS])
def test_a_fault_of_a_replacement_is_named(function, check):
    assert fault(attrkit.replacement("planted")(function), "replacement", check)


def numbered(point):
    start, found = 0, []
    for x in point:
        found.append(start + torch.arange(x[0].numel()).reshape(1, *x.shape[1:]))
        start += x[0].numel()
    return found


def floats(point):
    return tuple(ids.double() for ids in numbered(point))


def by_mean(point):
    return tuple((x.double() > x.double().mean()).long() for x in point)


def random_ids(point):
    return tuple(torch.randint(3, (1, *x.shape[1:])) for x in point)


def from_zero(point):
    return tuple(torch.arange(x[0].numel()).reshape(1, *x.shape[1:]) for x in point)


def empty(point):
    return tuple(torch.full_like(ids, attrkit.NO_FEATURE) for ids in numbered(point))


SEGMENTERS = [
    (floats, "returns_numbers_of_features"),
    (by_mean, "examples_do_not_mix"),
    (random_ids, "gives_the_same_twice"),
    (random_ids, "leaves_everything_alone"),
    (from_zero, "tensors_do_not_share_numbers_by_chance"),
    (empty, "finds_a_feature"),
]


@pytest.mark.parametrize(("function", "check"), SEGMENTERS, ids=[f"{f.__name__}-{check}" for f, check in SEGMENTERS])
def test_a_fault_of_a_segmenter_is_named(function, check):
    assert fault(attrkit.segmenter("planted")(function), "segmenter", check)


def fair(count, size, generator):
    for low in range(0, size, 64):
        yield torch.rand(min(64, size - low), count, generator=generator) < 0.5


def greedy(count, size, generator):
    yield torch.rand(size + 1, count, generator=generator) < 0.5


def stingy(count, size, generator):
    yield torch.rand(size // 2, count, generator=generator) < 0.5


def biased(count, size, generator):
    share = torch.full((count,), 0.5)
    share[0] = 0.6
    yield torch.rand(size, count, generator=generator) < share


def sorted_first(count, size, generator):
    rows = torch.rand(size, count, generator=generator) < 0.5
    yield rows[rows[:, 0].long().argsort(descending=True, stable=True)] if count else rows


def own_seed(count, size, generator):
    yield torch.rand(size, count, generator=torch.Generator().manual_seed(0)) < 0.5


def torchs_own(count, size, generator):
    yield torch.rand(size, count) < 0.5


def numbers(count, size, generator):
    yield (torch.rand(size, count, generator=generator) < 0.5).double()


def neighbours(count, size, generator):
    start, length = (torch.randint(count, (size, 1), generator=generator) for _ in range(2))
    yield (torch.arange(count) - start) % count < length + (count == 1)


DESIGNS = [
    (greedy, "yields_what_was_asked_for"),
    (stingy, "yields_what_was_asked_for"),
    (biased, "features_are_alike"),
    (sorted_first, "features_are_alike"),
    (own_seed, "follows_the_generator"),
    (torchs_own, "follows_the_generator"),
    (numbers, "yields_boolean_blocks"),
    (neighbours, "pairs_of_features_are_alike"),
    (greedy, "comes_in_blocks"),
]


@pytest.mark.parametrize(("function", "check"), DESIGNS, ids=[f"{f.__name__}-{check}" for f, check in DESIGNS])
def test_a_fault_of_a_design_is_named(function, check):
    assert fault(attrkit.design("planted")(function), "design", check)


def test_a_fair_design_lacks_words_only():
    assert failures(attrkit.design("planted")(fair), "design").keys() == {"is_described", "pickles_to_itself"}


def orders(game, budget, *, errors=1.0, more=0, dtype=torch.float64, generator=None):
    """Shapley values from random orders, as a careful author has them but for what is asked for."""
    count = game.count
    if budget < 2 * (count + 1):
        raise UsageError(f"n_samples={budget} is too small")
    if callable(game.replacing):
        raise UsageError("it compares coalitions that are replaced alike")
    generator = generator or game.generator(0)
    gained = []
    for _ in range(more + budget // ((count + 1) * game.rows)):
        order = torch.randperm(count, generator=generator)
        rows = torch.arange(count + 1)[:, None] > order
        gained.append(game.values(rows).diff(dim=0)[order])
    found = torch.stack(gained)
    error = errors * found.std(0) / len(found) ** 0.5 if len(found) > 1 and count else None
    return Estimate(found.mean(0).to(dtype), error)


def bold(game, budget):
    return orders(game, budget, errors=0.1)


def timid(game, budget):
    return orders(game, budget, errors=100.0)


def spending(game, budget):
    return orders(game, budget, more=20)


def imprecise(game, budget):
    return orders(game, budget, dtype=torch.float32)


def unseeded(game, budget):
    return orders(game, budget, generator=torch.default_generator)


def alone(game, budget):
    rows = torch.eye(game.count, dtype=torch.bool)
    values = game.values(torch.cat([rows, torch.zeros(1, game.count, dtype=torch.bool)]))
    return Estimate(values[:-1] - values[-1])


def favouring(game, budget):
    found = orders(game, budget)
    scores = found.scores.clone()
    scores[-1:] += 0.3 * scores.abs().amax(0) if len(scores) else 0
    return Estimate(scores, found.errors)


def centred(game, budget):
    found = orders(game, budget)
    return Estimate(found.scores - found.scores.mean(1, keepdim=True), found.errors)


def positional(game, budget):
    return orders(game, budget).scores


ESTIMATORS = [
    (bold, "errors_cover"),
    (timid, "errors_cover"),
    (spending, "keeps_to_its_budget"),
    (imprecise, "returns_an_estimate"),
    (positional, "returns_an_estimate"),
    (unseeded, "follows_the_seed"),
    (alone, "comes_near_the_shapley_value"),
    (favouring, "what_is_ignored_gets_nothing"),
    (favouring, "is_exact_for_sums"),
    (centred, "examples_and_outputs_do_not_mix"),
]


@pytest.mark.parametrize(("function", "check"), ESTIMATORS, ids=[f"{f.__name__}-{check}" for f, check in ESTIMATORS])
def test_a_fault_of_an_estimator_is_named(function, check):
    assert fault(attrkit.estimator("planted")(function), "estimator", check)


def test_a_careful_estimator_lacks_words_only():
    def careful(game, budget):
        return orders(game, budget)

    assert failures(attrkit.estimator("planted")(careful), "estimator").keys() == {"is_described", "pickles_to_itself"}


def least_squares(coalitions, values, weights, *, intercept=True, ridge=1e-9):
    columns = []
    for y, w in zip(values.T, weights.expand_as(values).T, strict=True):
        one = torch.ones(len(y), 1, dtype=y.dtype) if intercept else torch.zeros(len(y), 1, dtype=y.dtype)
        a = torch.cat([coalitions, one], 1)
        gram = a.T @ (w[:, None] * a) + ridge * torch.eye(a.shape[1], dtype=y.dtype)
        columns.append(torch.linalg.solve(gram, a.T @ (w * y)))
    found = torch.stack(columns, 1)
    return found[:-1], found[-1]


def unweighted(coalitions, values, weights):
    return least_squares(coalitions, values, torch.ones_like(weights))


def through_zero(coalitions, values, weights):
    return least_squares(coalitions, values, weights, intercept=False)


def averaging(coalitions, values, weights):
    return least_squares(coalitions, values.mean(1, keepdim=True).expand_as(values), weights)


def inflating(coalitions, values, weights):
    coefficients, intercepts = least_squares(coalitions, values, weights)
    return 1.05 * coefficients, intercepts


def centring(coalitions, values, weights):
    values -= values.mean(0)
    return least_squares(coalitions, values, weights)


def first_weights(coalitions, values, weights):
    return least_squares(coalitions, values, weights[:, :1])


SURROGATES = [
    (unweighted, "weights_matter"),
    (through_zero, "a_constant_is_an_intercept"),
    (averaging, "columns_are_independent"),
    (inflating, "finds_a_linear_function"),
    (centring, "gives_the_same_twice"),
    (first_weights, "columns_are_independent"),
]


@pytest.mark.parametrize(("function", "check"), SURROGATES, ids=[f"{f.__name__}-{check}" for f, check in SURROGATES])
def test_a_fault_of_a_surrogate_is_named(function, check):
    assert fault(attrkit.surrogate("planted")(function), "surrogate", check)


class Pool:
    """A careful executor with threads."""

    threads = 3

    def run(self, work, do):
        pool, waiting = ThreadPoolExecutor(self.threads), deque()
        try:
            for piece in work:
                waiting.append(pool.submit(copy_context().run, do, piece))
                if len(waiting) > 3:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class Remembering:
    """Keeps results by the number of the piece, across lots of work."""

    kept = {}  # noqa: RUF012 - the fault

    def run(self, work, do):
        for i, piece in enumerate(work):
            if i not in self.kept:
                self.kept[i] = do(piece)
            yield self.kept[i]


class Unordered:
    def run(self, work, do):
        with ThreadPoolExecutor(4) as pool:
            for future in as_completed([pool.submit(do, piece) for piece in work]):
                yield future.result()


class Eager:
    def run(self, work, do):
        yield from [do(piece) for piece in work]


class Early:
    def run(self, work, do):
        return iter([do(piece) for piece in work])


class Leaking:
    over = threading.Event()

    def run(self, work, do):
        threading.Thread(target=self.over.wait, daemon=True).start()
        return map(do, work)


class Lenient:
    def run(self, work, do):
        for piece in work:
            try:
                yield do(piece)
            except Exception:  # noqa: BLE001 - the fault
                yield None


class Retrying:
    def run(self, work, do):
        for piece in work:
            do(piece)
            yield do(piece)


class Filtering:
    def run(self, work, do):
        return filter(None, map(do, work))


class Once(Pool):
    def __init__(self):
        self.used = False

    def run(self, work, do):
        if self.used:
            return
        self.used = True
        yield from map(do, work)


class Wrapping:
    def run(self, work, do):
        try:
            yield from map(do, work)
        except Exception as error:
            raise RuntimeError("a worker failed") from error


class Idle:
    pass


EXECUTORS = [
    (Unordered, "results_are_in_order"),
    (Eager, "work_is_taken_as_it_is_needed"),
    (Eager, "results_before_an_error_are_given"),
    (Early, "nothing_runs_before_it_is_asked_for"),
    (Leaking, "leaves_no_thread"),
    (Lenient, "errors_come_through"),
    (Retrying, "every_piece_runs_once"),
    (Remembering, "explanations_are_the_same"),
    (Filtering, "every_piece_runs_once"),
    (Once, "is_used_again"),
    (Wrapping, "errors_come_through"),
    (Idle, "is_an_executor"),
]


@pytest.mark.parametrize(("executor", "check"), EXECUTORS, ids=[f"{e.__name__}-{check}" for e, check in EXECUTORS])
def test_a_fault_of_an_executor_is_named(executor, check, monkeypatch):
    monkeypatch.setattr("attrkit.testing.executors._PATIENCE", 0.2)
    Leaking.over.clear()
    said = fault(executor, "executor", check)
    Leaking.over.set()
    assert said


def test_a_careful_pool_has_no_fault():
    assert failures(Pool, "executor") == {}


def test_an_executor_is_known_by_its_plugin():
    class Plugin:
        @attrkit.hookimpl
        def attrkit_executor(self, model, devices):
            return None  # not for this model

    registry.register(Plugin(), "planted_executor")
    try:
        assert "expected an executor" in failures("planted_executor", "executor")["is_an_executor"]
    finally:
        registry.unregister("planted_executor")
    with pytest.raises(UsageError, match="no plugin 'planted_executor'"):
        failures("planted_executor", "executor")


def deaf(problem, inner):
    return tuple(torch.ones_like(x) for x in problem.point)


def secretly_random(problem, inner):
    (found,) = (inner(problem),)
    return tuple(f + torch.randn(f.shape) for f in found)


WRAPPERS = [
    (deaf, "applies_the_method"),
    (deaf, "hands_on_the_options_of_the_method"),
    (secretly_random, "the_same_seed_gives_the_same"),
]


@pytest.mark.parametrize(("function", "check"), WRAPPERS, ids=[f"{f.__name__}-{check}" for f, check in WRAPPERS])
def test_a_fault_of_a_wrapper_is_named(function, check):
    if registry.find("methods", "integrated_gradients") is None:
        pytest.skip("there is no method to wrap in this run")
    assert fault(attrkit.wrapper("planted")(function), "wrapper", check)


# Misuse.


def test_a_kind_that_does_not_exist():
    with pytest.raises(UsageError, match="kind must be one of method, rule.*'rulez'.*rule"):
        conformance("epsilon", kind="rulez")


def test_a_declaration_of_another_kind():
    with pytest.raises(UsageTypeError, match="'planted' is a design, not a rule; give kind='design'"):
        conformance(attrkit.design("planted")(fair), kind="rule")


def test_what_is_no_declaration():
    with pytest.raises(UsageTypeError, match="expected the name of a surrogate, or its declaration, got <function"):
        conformance(least_squares, kind="surrogate")


def test_an_option_that_does_not_exist():
    with pytest.raises(UsageError, match="planted has no option 'shrae'"):
        conformance(attrkit.design("planted")(fair), kind="design", options={"shrae": 1})


def test_options_of_an_executor():
    with pytest.raises(UsageError, match="an executor has no options, got threads"):
        conformance(Pool, kind="executor", options={"threads": 2})


def test_expected_names_a_check():
    with pytest.raises(UsageError, match="'features_are_alik', which is no check of a design.*features_are_alike"):
        conformance(attrkit.design("planted")(fair), kind="design", expected={"features_are_alik": "so"})


def test_expected_names_a_check_that_runs():
    planted = attrkit.rule("planted")(shared)
    with pytest.raises(UsageError, match="'relevance_is_conserved', which is not checked: planted does not promise it"):
        conformance(planted, kind="rule", expected={"relevance_is_conserved": "so"})


@pytest.fixture
def outcomes(tmp_path):
    """What pytest says of each check."""

    def run(text):
        file = tmp_path / f"test_planted_{len(list(tmp_path.iterdir()))}.py"  # a module of its own
        file.write_text(text)
        seen = {}

        class Plugin:
            def pytest_runtest_logreport(self, report):
                if report.when == "call":
                    seen[report.nodeid.partition("[")[2].rstrip("]")] = (
                        "xfailed" if hasattr(report, "wasxfail") else report.outcome
                    )

        code = pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)], plugins=[Plugin()])
        return code, seen

    return run


PLANTED = """
import torch, attrkit
from attrkit.testing import conformance

@attrkit.design("planted")
def planted(count, size, generator):
    \"\"\"Half of the features, of which the first is always there.\"\"\"
    for low in range(0, size, 64):
        rows = torch.rand(min(64, size - low), count, generator=generator) < 0.5
        rows[:, 0] = True
        yield rows

test_planted = conformance(planted, kind="design", expected={expected})
"""


def test_what_is_expected_to_fail_has_to(outcomes):
    known = {"features_are_alike": "the first is always there", "pairs_of_features_are_alike": "the same"}
    code, seen = outcomes(PLANTED.format(expected=known))
    assert code == 0
    assert {name for name, outcome in seen.items() if outcome == "xfailed"} == {f"design-{check}" for check in known}
    code, seen = outcomes(PLANTED.format(expected={**known, "sizes_vary": "no"}))
    assert code == 1
    assert [name for name, outcome in seen.items() if outcome == "failed"] == ["design-sizes_vary"]
    code, seen = outcomes(PLANTED.format(expected={}))
    assert {name for name, outcome in seen.items() if outcome == "failed"} == {f"design-{check}" for check in known}
