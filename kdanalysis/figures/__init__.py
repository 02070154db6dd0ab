"""Figures: tidy tables in, axes out; and beside each, the sentence to read and its number."""
