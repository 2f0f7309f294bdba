"""One command: teacher, student, baseline, stages, test, export, report."""
