"""Properties that hold for all inputs: state machines and long random runs."""
