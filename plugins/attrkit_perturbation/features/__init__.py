"""Which positions are one feature."""
