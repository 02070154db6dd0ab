"""Gradients of loss terms in the student's logits: stacked, compared, checked."""

from kdanalysis.gradients.logit import HasGradients, gram, residual, term_gradients

__all__ = ["HasGradients", "gram", "residual", "term_gradients"]
