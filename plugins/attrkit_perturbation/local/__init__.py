"""What LIME is made of: samples around an example, their weights, and one fit for each example."""
