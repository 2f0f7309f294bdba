"""Tasks: loss, metrics and page of what a network is trained for, such as classification."""
