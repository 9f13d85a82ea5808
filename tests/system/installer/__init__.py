"""The bundle for machines without internet, and its installer, run for real on a machine of the tests' own."""
