"""Names and hooks on any module."""
