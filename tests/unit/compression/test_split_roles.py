"""No method sees `choose`, no search sees `certify`, which is read once for a model: leaks are planted and caught."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from orchestrator.compression.artifact import Artifact
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.evaluation import evaluate_network
from orchestrator.compression.pipeline import compress
from orchestrator.compression.prune import prune_channels
from orchestrator.compression.prune.blocks import BlockPruning, prune_blocks_and_recover
from orchestrator.compression.qat import train_quantized
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.recipe import QuantizedTraining, Recipe
from orchestrator.compression.rules.network import distill_rules
from orchestrator.compression.rules.recipe import CascadeRecipe, RulesRecipe
from orchestrator.compression.training.classifier import train_classifier
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.learning import Learning
from orchestrator.datasets import (
    CertifySpentError,
    LeakError,
    Role,
    SealedSplit,
    Split,
    SplitRoleError,
    Splits,
    concatenate,
)
from tests.unit.compression.networks import small_network

Method = Callable[[Split, Splits, Preprocessing], object]


def quantized(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    return quantize_network(small_network(), split, Recipe(), preprocessing=preprocessing)


def trained_on(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    return train_classifier(small_network(), split, preprocessing=preprocessing, epochs=1)


def distilled_on(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    return distill(small_network(), small_network(), split, Learning(epochs=1), preprocessing=preprocessing)


def repaired_with(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    return distill(
        small_network(), small_network(), digits.train, Learning(epochs=1), preprocessing=preprocessing, extra=split
    )


def pruned_by(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    return prune_channels(small_network(), split, preprocessing=preprocessing, macs_fraction=0.5)


def trained_quantized_on(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    recipe = Recipe(weight_bits=4, training=QuantizedTraining(epochs=1))
    return train_quantized(small_network(), split, digits.calibrate, recipe, preprocessing=preprocessing)


def calibrated_before_training_on(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    recipe = Recipe(weight_bits=4, training=QuantizedTraining(epochs=1))
    return train_quantized(small_network(), digits.train, split, recipe, preprocessing=preprocessing)


def blocks_pruned_by(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    pruning = BlockPruning(sparsity=0.5, learning=None)
    return prune_blocks_and_recover(small_network(), split, pruning, preprocessing=preprocessing)


def rules_grown_on(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    return distill_rules(_model(digits), split, digits.calibrate, RULES)


def threshold_proven_on(split: Split, digits: Splits, preprocessing: Preprocessing) -> object:
    return distill_rules(_model(digits), digits.train, split, RULES)


RULES = RulesRecipe(cascade=CascadeRecipe())


def _model(digits: Splits) -> Artifact:
    return compress(small_network().eval(), digits, Recipe(), name="digits", max_accuracy_drop=None)


METHODS: list[Method] = [
    quantized,
    trained_on,
    distilled_on,
    repaired_with,
    pruned_by,
    trained_quantized_on,
    calibrated_before_training_on,
    blocks_pruned_by,
    rules_grown_on,
    threshold_proven_on,
]


@pytest.mark.parametrize("name", ["choose", "certify"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_refuses_what_it_is_judged_by(
    digits: Splits, preprocessing: Preprocessing, method: Method, name: str
) -> None:
    """A few samples of it, or some of it among others, are refused as well."""
    planted = digits.named()[name].take(slice(0, 40))
    with pytest.raises(SplitRoleError, match=f"must not see the {name} split"):
        method(planted, digits, preprocessing)
    with pytest.raises(SplitRoleError, match="cannot be mixed"):
        method(concatenate(digits.train, planted), digits, preprocessing)


def test_what_judges_cannot_become_what_is_learned_from(digits: Splits) -> None:
    with pytest.raises(SplitRoleError, match="choose split cannot become 'train'"):
        replace(digits, train=digits.choose)
    copied = Split(digits.choose.inputs, digits.choose.labels)  # its role is gone, its content is not
    with pytest.raises(LeakError, match="'train' and 'choose' share"):
        replace(digits, train=copied)


def test_judging_by_any_split_is_allowed(digits: Splits, preprocessing: Preprocessing) -> None:
    network: nn.Module = small_network()
    for split in digits.named().values():
        assert 0 <= evaluate_network(network, split, preprocessing=preprocessing).accuracy <= 1


def test_a_role_travels_with_its_samples_and_is_not_part_of_their_digest(digits: Splits) -> None:
    assert {name: split.role for name, split in digits.named().items()} == {
        "train": Role.TRAIN, "calibrate": Role.CALIBRATE, "choose": Role.CHOOSE, "certify": Role.CERTIFY,
    }  # fmt: skip
    assert digits.choose.take([3, 1]).role is Role.CHOOSE
    assert pickle.loads(pickle.dumps(digits.choose)).role is Role.CHOOSE  # noqa: S301 - our own bytes
    nameless = Split(digits.choose.inputs, digits.choose.labels)
    assert nameless.digest() == digits.choose.digest()
    assert concatenate(digits.train, nameless.take([0])).role is Role.NONE
    assert concatenate(digits.train, digits.train.take([0])).role is Role.TRAIN
    assert len(concatenate(digits.train, digits.choose.take(slice(0, 0)))) == len(digits.train)


def test_a_search_holds_no_certify_split(digits: Splits) -> None:
    held = digits.without_certify()
    assert len(held.certify) == 0
    assert len(held.choose) == len(digits.choose)
    assert len(digits.certify) > 0


def test_the_certify_split_is_opened_once_for_each_model(digits: Splits) -> None:
    sealed = SealedSplit(digits.certify)
    assert np.array_equal(sealed.open_for("a" * 64).labels, digits.certify.labels)
    assert len(sealed.open_for("b" * 64)) == len(sealed)
    with pytest.raises(CertifySpentError, match="read for model aaaaaaaaaaaa already"):
        sealed.open_for("a" * 64)


def test_a_closed_seal_shows_nothing_but_digests(digits: Splits, preprocessing: Preprocessing) -> None:
    sealed = SealedSplit(digits.certify)
    assert sealed.digest() == digits.certify.digest()
    assert sealed.input_digests == digits.certify.input_digests
    assert not hasattr(sealed, "inputs")
    assert not hasattr(sealed, "labels")
    with pytest.raises(AttributeError):
        evaluate_network(small_network(), sealed, preprocessing=preprocessing)  # type: ignore[arg-type]
    with pytest.raises(LeakError, match="sealed, not the choose split"):
        SealedSplit(digits.choose)
