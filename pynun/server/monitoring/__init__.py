"""What the server shows of itself: health and metrics."""
