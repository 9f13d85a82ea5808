"""What the scripts of the folder above run."""
