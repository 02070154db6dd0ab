"""Parts of ``language_example.py``: text, networks, training, tables."""
