"""Gradients of loss terms: in the student's logits, and in the parameters of chosen layers."""

from kdanalysis.gradients.layers import Layer, find_layers
from kdanalysis.gradients.linear import linear_covariance, linear_gram, linear_mean_gram
from kdanalysis.gradients.logit import HasGradients, gram, residual, term_gradients
from kdanalysis.gradients.parameter import half_covariances, layer_grams

__all__ = [
    "HasGradients",
    "Layer",
    "find_layers",
    "gram",
    "half_covariances",
    "layer_grams",
    "linear_covariance",
    "linear_gram",
    "linear_mean_gram",
    "residual",
    "term_gradients",
]
