"""Pictures of explanations: plots, the summary of a notebook, the report."""
