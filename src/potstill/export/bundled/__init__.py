"""Files of every bundle: a script that classifies, and instructions."""
