"""The conformance kit catches what authors do wrong: each planted fault, by the check that names it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attrkit.registry import registry
from attrkit.specs import Declared
from attrkit.testing import executors, wrappers
from attrkit.testing.checks import declaration
from attrkit.testing.conformance import judged
from attrkit.testing.kinds import KINDS, kind_of
from tests.core import test_conformance
from tests.kit import (
    faults_of_executors,
    faults_of_methods,
    faults_of_parts,
    faults_of_placements,
    faults_of_replacements,
    faults_of_rules,
    faults_of_wrappers,
)

#: Of each fault, a check that finds it, and words of what that says.
METHODS = {
    # What is returned.
    "graph_kept": ("returns_no_graph", "detach it"),
    "inputs_returned": ("returns_memory_of_its_own", "copy it"),
    "list_returned": ("returns_tensors_shaped_like_the_site", "returned list"),
    "made_float32": ("keeps_the_precision", "returned torch.float32 for a model of torch.float64"),
    "through_numpy": ("half_precision_works_or_is_refused", "BFloat16"),
    "shaped_like_inputs": ("returns_tensors_shaped_like_the_site", "for a site of shapes"),
    "first_tensor_only": ("answers_each_input", "two inputs"),
    "first_tensor_matters": ("the_order_of_inputs_does_not_matter", ""),
    "second_tensor_negated": ("the_order_of_inputs_does_not_matter", ""),
    "divided_by_a_sum": ("returns_finite_numbers", "NaN or infinity"),
    "squeezed": ("one_example_is_enough", "another shape"),
    "stacked_by_example": ("an_empty_batch_is_fine", ""),
    "overflowing_in_half": ("half_precision_works_or_is_refused", "torch.float16 gives"),
    # Examples.
    "scaled_over_the_batch": ("examples_do_not_mix", ""),
    "spread_by_a_nan": ("nan_stays_in_its_example", ""),
    "steps_by_chunk": ("chunks_change_nothing", ""),
    "one_pass_for_all": ("no_pass_is_larger_than_allowed", "internal_batch_size was 3"),
    "flattened_by_view": ("the_layout_of_inputs_does_not_matter", "view"),
    "outputs_summed": ("explains_every_output", ""),
    # Draws.
    "torchs_generator": ("the_same_seed_gives_the_same", "something else"),
    "numpys_generator": ("leaves_the_model_alone", "numpy's generator"),
    "seed_ignored": ("another_seed_gives_another_sample", "two seeds"),
    "draws_undeclared": ("the_seed_does_not_matter", "declare stochastic=True"),
    "draws_by_row": ("chunks_change_nothing", ""),
    # Costs.
    "gradients_kept": ("memory_does_not_grow", "add up as they come"),
    "passes_undeclared": ("costs_what_it_declares", "took 2"),
    # Meaning.
    "weights_too_large": ("a_linear_model_is_explained_exactly", ""),
    "baseline_forgotten": ("the_baseline_matters", "baseline"),
    "path_from_zero": ("attributions_add_up_from_any_baseline", "off by"),
    "sign_wrong": ("attributions_add_up", "off by"),
    "absolute_and_linear": ("attributions_add_up_over_models", ""),
    "exact_by_steps": ("attributions_add_up", "off by"),
    "first_order_only": ("attributions_add_up", "off by"),
    "fewer_steps_than_asked": ("more_steps_are_closer", "with 64"),
    "residual_spread": ("what_is_ignored_gets_nothing", "an ignored feature got"),
    "order_of_columns": ("equal_features_get_the_same", ""),
    "target_ignored": ("the_target_matters", "the same attributions"),
    "game_of_zero": ("the_baseline_matters", "baseline"),
    "value_for_each": ("attributions_add_up", "off by"),
    # What is left behind.
    "inputs_overwritten": ("leaves_the_model_alone", "inputs[0]"),
    "hook_left": ("leaves_alone_what_cannot_be_copied", "_forward_hooks"),
    "training_mode_changed": ("leaves_alone_what_cannot_be_copied", "training"),
    "parameters_get_gradients": ("leaves_alone_what_cannot_be_copied", ".grad"),
    "parameters_frozen": ("leaves_alone_what_cannot_be_copied", "requires_grad"),
    "cleans_up_on_success": ("leaves_alone_what_cannot_be_copied", "_forward_hooks"),
    "precision_set_for_all": ("leaves_the_model_alone", "default dtype"),
    "model_cached": ("nothing_keeps_the_model", "model's parameters"),
    "inputs_cached": ("nothing_keeps_the_model", "inputs"),
    "total_of_all_threads": ("threads_do_not_meet", ""),
    "warns_always": ("warns_of_nothing", "experimental"),
    # What is declared.
    "option_ignored": ("every_option_is_looked_at", "absolute"),
    "help_missing": ("is_described", "absolute"),
    "no_sentence": ("is_described", "sentence"),
    "zero_steps": ("counts_refuse_zero", "n_steps"),
    "made_by_a_function": ("pickles_to_itself", ""),
    "a_lambda": ("pickles_to_itself", ""),
    "declared_elsewhere": ("pickles_to_itself", "no attribute of its name"),
    "layer_run_twice": ("a_layer_may_run_twice", "(3, 5), (3, 5)"),
    # What callers may give.
    "several_tensors_refused": ("a_layer_may_return_several_tensors", "one tensor"),
    "one_target_for_all": ("each_example_may_have_its_target", ""),
    "target_as_a_number": ("targets_come_in_every_form", ""),
    "model_called_directly": ("further_arguments_go_along", "scale"),
    "evaluation_mode_only": ("training_mode_survives", "eval()"),
    "precision_left": ("leaves_the_model_alone_after_an_error", "default dtype"),
    "by_gradients_of_weights": ("surrounding_modes_change_nothing", ""),
    "steps_for_float64": ("float32_is_near_float64", ""),
    "equal_shares": ("what_does_not_move_gets_nothing", "at its baseline got"),
    "any_factor": ("says_what_is_wrong_with_options", "names factor"),
    "any_scale": ("refuses_options_that_are_nonsense", "scale=object() was accepted"),
    "any_order": ("says_what_is_wrong_with_options", "order=-1 ended in ValueError"),
    "a_class_of_another": ("has_a_class", "class of another method"),
}

RULES = {
    "undivided": ("is_finite_at_zero", "dense: NaN or infinity"),
    "margin_of_the_batch": ("examples_do_not_mix", "mixes examples"),
    "output_overwritten": ("writes_into_nothing_of_the_step", "wrote into output"),
    "much_absorbed": ("relevance_is_conserved", "made or lost"),
    "bias_forgotten": ("relevance_is_conserved", "with a bias"),
    "relevance_for_quotient": ("relevance_is_conserved", "made or lost"),
    "absolute_relevance": ("is_linear_in_what_it_is_given", "not linear"),
    "shaped_like_output": ("returns_what_it_declares", "returned [(3, 4)]"),
    "graph_of_a_constant": ("returns_what_it_declares", "a graph"),
    "drawn": ("gives_the_same_twice", "two calls"),
    "out_of_nothing": ("nothing_carried_gives_nothing", "out of nothing"),
    "one_share": ("returns_a_share_for_each_operand", "1 shares for 2 operands"),
    "shares_of_two": ("relevance_is_conserved", "made or lost"),
    "nearly_identity": ("identity_is_what_it_says", ""),
    "looks_at_inputs": ("sees_no_inputs_where_it_says_so", "looks at step.input"),
    "looks_at_all_outputs": ("outputs_without_relevance_do_not_matter", "declare all_outputs=True"),
    "accepts_anything": ("refuses_options_that_are_nonsense", "epsilon"),
    "silent": ("is_described", "epsilon"),
    "for_nothing": ("is_for_an_operation", "liner"),
    "for_what_is_taken_apart": ("is_for_an_operation", "logsumexp are taken apart"),
    "by_how_many_there_are": ("agrees_with_a_slow_oracle", "output by output"),
    "joined_and_forgotten": ("joins_the_map_before", "made or lost"),
    "any_power": ("says_what_is_wrong_with_options", "power=-1 ended in ValueError"),
    "one_for_two": ("returns_what_it_declares", "the function returned [(3, 6)]"),
    "made": ("pickles_to_itself", ""),
    "in_units_of_the_inputs": ("is_finite_at_zero", "NaN or infinity"),
    "by_exponentials": ("float32_is_near_float64", "dense"),
    "in_turns": ("gives_the_same_twice", "two calls"),
    "weight_overwritten": ("writes_into_nothing_of_the_step", "wrote into weight"),
}
REPLACEMENTS = {
    "torchs_noise": ("draws_follow_the_seed", "the same seed"),
    "one_after_another": ("equal_numbers_are_equal_draws", "problem.generator"),
    "always_the_same": ("different_numbers_are_different_draws", "eight draws are the same"),
    "numbers_with_halves": ("keeps_the_type", "by torch.float64"),
    "inputs_centred": ("leaves_everything_alone", "inputs[0]"),
    "in_units": ("is_finite", "NaN or infinity"),
    "flat": ("returns_what_replaces", "broadcast"),
    "one_tensor": ("returns_what_replaces", "1 tensors for 2"),
    "squeezed": ("takes_a_batch_of_one", "one example"),
    "says_nothing": ("is_described", "value"),
    "nested": ("pickles_to_itself", ""),
    "second_example": ("takes_a_batch_of_one", "one example of a table"),
    "another_each_time": ("stands_in_for_what_is_absent", "the replacement's value"),
    "means_by_view": ("takes_inputs_of_any_layout", "view"),
    "any_spread": ("says_what_is_wrong_with_options", "spread=-1 ended in ValueError"),
    "any_value": ("refuses_options_that_are_nonsense", "value=object() was accepted"),
}
#: Of parts, what they are too.
PARTS = {
    "for_nothing_at_all": ("segmenter", "is_for_some_inputs", "nine dimensions"),
    "signs_by_view": ("segmenter", "takes_inputs_of_any_layout", "view"),
    "any_run": ("segmenter", "refuses_options_that_are_nonsense", "run=object() was accepted"),
    "run_unchecked": ("segmenter", "says_what_is_wrong_with_options", "run=-1 ended in ValueError"),
    "all_of_one_size": ("design", "sizes_vary", "all coalitions have"),
    "any_part": ("design", "refuses_options_that_are_nonsense", "part=object() was accepted"),
    "part_unnamed": ("design", "says_what_is_wrong_with_options", "does not name part"),
    "always_one_order": ("estimator", "equal_features_get_the_same", "equal features"),
    "first_row_only": ("estimator", "a_background_is_averaged", "the mean of its rows"),
    "replaced_by_tensors": ("estimator", "replacements_that_draw_are_averaged_or_refused", "function"),
    "never_alone": ("estimator", "a_single_feature_gets_all", ""),
    "a_little_for_everybody": ("estimator", "constants_get_nothing", "a constant"),
    "any_weight": ("estimator", "refuses_options_that_are_nonsense", "weight=object() was accepted"),
    "weight_unchecked": ("estimator", "says_what_is_wrong_with_options", "weight=-1 ended in ValueError"),
    "unregularised": ("surrogate", "degenerate_coalitions_are_fine", ""),
    "intercepts_in_a_row": ("surrogate", "returns_coefficients_and_intercepts", "shapes"),
    "half_held_out": ("surrogate", "the_order_does_not_matter", "another order"),
    "any_penalty": ("surrogate", "refuses_options_that_are_nonsense", "penalty=object() was accepted"),
    "penalty_unchecked": ("surrogate", "says_what_is_wrong_with_options", "penalty=-1 ended in ValueError"),
}
EXECUTORS = {
    "AsTheyCome": ("results_are_in_order", "in the order"),
    "AllAtOnce": ("work_is_taken_as_it_is_needed", "takes all of the work"),
    "Eager": ("nothing_runs_before_it_is_asked_for", "make run a generator"),
    "Forgiving": ("errors_come_through", "nothing came through"),
    "NoResultForNone": ("every_piece_runs_once", "None"),
    "Renaming": ("errors_come_through", "RuntimeError"),
    "ThreadsLeft": ("leaves_no_thread", "after an error"),
    "OnceOnly": ("is_used_again", "second lot"),
    "NoneToBegin": ("no_work_is_no_result", "StopIteration"),
    "EndsWithTheWork": ("errors_of_the_work_come_through", "nothing came through"),
    "RunsOn": ("nothing_runs_after_it_is_closed", "still begun"),
}
WRAPPERS = {
    "always_the_same_method": ("applies_the_method", "with another method in place 1"),
    "first_of_several": ("applies_the_method", "with another method in place 2"),
    "last_of_several": ("applies_the_method", "with another method in place 1"),
    "past_its_options": ("hands_on_the_options_of_the_method", "applied with n_steps=None"),
    "an_option_for_the_method": ("hands_on_the_options_of_the_method", "applied with n_steps=2"),
    "torchs_noise": ("the_same_seed_gives_the_same", "something else"),
    "noise_of_the_batch": ("draws_belong_to_examples", "other draws"),
    "draws_undeclared": ("the_seed_does_not_matter", "declare stochastic=True"),
    "the_same_noise_each_time": ("another_seed_gives_another_sample", "two seeds"),
    "scaled_over_the_batch": ("examples_do_not_mix", ""),
    "complete_by_squares": ("attributions_add_up", "off by"),
    "through_float32": ("keeps_the_precision", "returned torch.float32"),
    "times_forgotten": ("costs_what_it_declares", "took 2"),
    "no_copy_at_all": ("counts_refuse_zero", "must return a tuple"),
    "any_power": ("refuses_options_that_are_nonsense", "power=object() was accepted"),
    "no_copy_said": ("says_what_is_wrong_with_options", "n_copies=-1 ended in"),
    "silent": ("is_described", "sentence"),
    "made_here": ("pickles_to_itself", ""),
}
PLACEMENTS = {
    "loses": ("every_shard_is_done_and_reported_once", "of 4 shards were done"),
    "reports_twice": ("every_shard_is_done_and_reported_once", "it reported [0, 0,"),
    "does_all": ("what_is_there_is_left_alone", "it reported [0, 1, 2, 3]"),
    "gives_up": ("what_fails_is_begun_again_then_reported", "through queue.settled"),
    "keeps_quiet": ("what_fails_is_begun_again_then_reported", "it reported [0, 3]"),
    "rewords": ("what_fails_is_begun_again_then_reported", "the error became 'shard failed'"),
    "stops_at_an_error": ("what_fails_is_begun_again_then_reported", "it reported [0, 1, 3]"),
    "runs_on": ("nothing_runs_after_it_is_closed", "shards were done after it was closed"),
    "thread_left": ("nothing_runs_after_it_is_closed", "left behind"),
    "says_nothing": ("is_described", "order"),
    "made_here": ("pickles_to_itself", ""),
}
#: Of rulesets, which are made of rules that have one.
RULESETS = {
    "much_absorbed": ("relevance_is_conserved", "made or lost"),
    "margin_of_the_batch": ("examples_do_not_mix", "dense: examples mix"),
    "in_turns": ("gives_the_same_twice", "dense: two calls"),
    "weight_overwritten": ("leaves_the_model_alone", "weight.values"),
    "in_units_of_the_inputs": ("is_finite", "dense: NaN or infinity"),
    "by_exponentials": ("float32_is_near_float64", "dense: float32 is off"),
}
#: Of wrappers, the checks of their own; the others are those of methods, and find the faults of these too.
OWN = {"wrapper": wrappers.check.found}
#: Checks that no fault is planted for, and why.
UNPLANTED = {
    ("method", "a_layer_that_never_runs_is_named"): "attrkit itself asks for layers, before the method runs",
    ("method", "a_missing_target_is_named"): "attrkit itself checks targets",
    ("method", "a_wrong_target_is_named"): "the same",
    ("method", "a_wrong_baseline_is_named"): "attrkit itself checks baselines",
    ("method", "devices_agree"): "it needs a GPU; test_devices has one",
    ("rule", "agrees_with_the_engine"): "the engine calls the function as it is: no rule can make it do otherwise",
    ("ruleset", "what_is_required_is_named"): "attrkit itself reads parameters",
}


@pytest.fixture(autouse=True)
def everything_put_back():
    """What faults leave behind in torch and numpy, the next test does not find."""
    dtype, state = torch.get_default_dtype(), np.random.get_state()
    yield
    torch.set_default_dtype(dtype)
    np.random.set_state(state)


@pytest.mark.parametrize("fault", METHODS)
def test_a_fault_of_a_method_is_named(fault, monkeypatch):
    if METHODS[fault][0] == "has_a_class":  # which is checked of registered methods
        monkeypatch.setattr(declaration, "_registered", lambda _: True)
    named(getattr(faults_of_methods, fault), "method", *METHODS[fault])


@pytest.mark.parametrize("fault", RULES)
def test_a_fault_of_a_rule_is_named(fault):
    named(getattr(faults_of_rules, fault), "rule", *RULES[fault])


@pytest.mark.parametrize("fault", REPLACEMENTS)
def test_a_fault_of_a_replacement_is_named(fault):
    named(getattr(faults_of_replacements, fault), "replacement", *REPLACEMENTS[fault])


@pytest.mark.parametrize("fault", PARTS)
def test_a_fault_of_a_part_is_named(fault):
    named(getattr(faults_of_parts, fault), *PARTS[fault])


@pytest.mark.parametrize("fault", WRAPPERS)
def test_a_fault_of_a_wrapper_is_named(fault):
    named(getattr(faults_of_wrappers, fault), "wrapper", *WRAPPERS[fault])


@pytest.mark.parametrize("fault", PLACEMENTS)
def test_a_fault_of_a_placement_is_named(fault):
    named(getattr(faults_of_placements, fault), "placement", *PLACEMENTS[fault])


@pytest.fixture
def faulty(request):
    """A ruleset of a rule with a mistake, for as long as a test."""
    registry.register(getattr(faults_of_rules, request.param))
    entries = [{"match": {"op": "linear"}, "rule": request.param}, {"match": {"op": "relu"}, "rule": "pass"}]
    listed = [{"id": f"r{i}", **entry, "optional": True} for i, entry in enumerate(entries)]
    yield {"schema": "attrkit/ruleset@1", "name": "planted", "doc": "It has a fault.", "rules": listed}
    registry.unregister(request.param)


@pytest.mark.parametrize(("faulty", "fault"), [(name, name) for name in RULESETS], indirect=["faulty"])
def test_a_fault_of_a_ruleset_is_named(faulty, fault):
    named(faulty, "ruleset", *RULESETS[fault])


def test_a_value_that_no_rule_accepts_is_named():
    document = {
        "schema": "attrkit/ruleset@1", "name": "planted", "doc": "It has a fault.",
        "params": {"margin": {"default": 1e-6, "type": "number", "min": -1, "doc": "Keeps denominators from zero."}},
        "rules": [{"id": "all", "match": {"op": "linear"}, "rule": "epsilon", "with": {"epsilon": "$margin"}}],
    }  # fmt: skip
    named(document, "ruleset", "every_choice_works", "margin=-1")


@pytest.mark.parametrize("fault", EXECUTORS)
def test_a_fault_of_an_executor_is_named(fault, monkeypatch):
    monkeypatch.setattr(executors, "_PATIENCE", 0.3)  # for threads that nobody ends
    try:
        named(getattr(faults_of_executors, fault), "executor", *EXECUTORS[fault])
    finally:
        for pool in faults_of_executors.POOLS:
            pool.shutdown()


def test_every_fault_is_in_a_table():
    modules = {
        faults_of_methods: METHODS, faults_of_rules: RULES, faults_of_replacements: REPLACEMENTS, faults_of_parts: PARTS,
        faults_of_wrappers: WRAPPERS, faults_of_placements: PLACEMENTS,
    }  # fmt: skip
    for module, table in modules.items():
        assert table.keys() == {name for name, each in vars(module).items() if isinstance(each, Declared)}
    classes = {name for name, each in vars(faults_of_executors).items() if hasattr(each, "run")}
    assert EXECUTORS.keys() == classes


def test_every_check_finds_a_fault():
    tables = {
        "method": METHODS, "rule": RULES, "replacement": REPLACEMENTS, "executor": EXECUTORS, "ruleset": RULESETS,
        "wrapper": WRAPPERS, "placement": PLACEMENTS,
    }  # fmt: skip
    found = {(kind, check) for kind, table in tables.items() for check, _ in table.values()}
    found |= {(kind, check) for kind, check, _ in PARTS.values()}
    found |= {(kind, case[-1]) for kind in KINDS for case in getattr(test_conformance, f"{kind.upper()}S", ())}
    found |= {(kind, "is_described") for kind, _ in found} | {(kind, "pickles_to_itself") for kind, _ in found}  # one for all
    found |= {("ruleset", "every_choice_works")}
    every = {(kind, check) for kind in KINDS for check in OWN.get(kind, KINDS[kind].checks)}
    assert every - found == UNPLANTED.keys()


def named(fault, kind, name, words):
    """A check of that name fails, and what it says has those words."""
    found = list(complaints(fault, kind, name))
    assert found, f"no {name!r} fails"
    assert any(words in each for each in found), found


def complaints(fault, kind, name):
    """What the check of that name says, at each place where it fails."""
    for _, subject, check in kind_of(kind).cases(fault, {}):
        if check.name == name:
            try:
                judged(check, subject)
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises is a complaint
                yield str(error)
