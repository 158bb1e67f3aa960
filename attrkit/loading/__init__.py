"""What references name: models, and files of tensors, read so that nothing in a data file is ever executed."""
