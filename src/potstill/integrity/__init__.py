"""Integrity of files: format versions, checksums, and bounds on what a file may hold."""
