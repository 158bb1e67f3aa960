"""What absent features are replaced by."""
