"""Tests of backups: their file, their schedule, and bringing one back."""
