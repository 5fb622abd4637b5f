"""The machine: what it is, its sensors, its clocks."""
