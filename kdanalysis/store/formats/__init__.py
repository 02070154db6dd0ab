"""Readers of foreign files, one format a file."""
