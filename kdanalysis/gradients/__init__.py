"""Gradients of loss terms: in the student's logits, and in the parameters of chosen layers."""

from kdanalysis.gradients.layers import Layer, find_layers
from kdanalysis.gradients.linear import (
    linear_covariance,
    linear_gram,
    linear_mean,
    linear_mean_gram,
)
from kdanalysis.gradients.logit import HasGradients, gram, residual, term_gradients
from kdanalysis.gradients.parameter import (
    gram_of,
    grams_of,
    half_covariances,
    layer_grams,
    mean_gradients,
)

__all__ = [
    "HasGradients",
    "Layer",
    "find_layers",
    "gram",
    "gram_of",
    "grams_of",
    "half_covariances",
    "layer_grams",
    "linear_covariance",
    "linear_gram",
    "linear_mean",
    "linear_mean_gram",
    "mean_gradients",
    "residual",
    "term_gradients",
]
