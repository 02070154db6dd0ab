"""Analyzers: streams of logits in, tidy tables out."""
