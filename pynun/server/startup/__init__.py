"""What happens once, before clients are served."""
