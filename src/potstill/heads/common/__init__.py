"""Adapters, schedules and other parts that several heads share."""
