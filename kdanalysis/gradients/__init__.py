"""Gradients of loss terms in the student's logits: stacked, compared, checked."""

from kdanalysis.gradients.logit import gram, residual, term_gradients

__all__ = ["gram", "residual", "term_gradients"]
