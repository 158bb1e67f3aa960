"""Methods that ask what the model answers when features are missing; forward passes suffice."""
