"""Methods that replace the backward pass, and the rules they do it with."""
