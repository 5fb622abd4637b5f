"""Sensors of power, temperature and clocks."""
