"""Tests of whole systems: containers, installer, browsers, public clients, kills. `scripts/test --all` runs them."""
