"""What lies in every bundle: a script that classifies, and a page that says how to use it."""
