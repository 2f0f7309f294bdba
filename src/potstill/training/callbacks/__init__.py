"""Lightning callbacks around a fit."""
