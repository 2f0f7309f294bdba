"""Pipeline of one command: teacher, student, baseline, stages, test, export, report."""
