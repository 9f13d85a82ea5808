"""The container image, built and run for real by a docker daemon of the tests' own."""
