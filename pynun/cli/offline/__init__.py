"""What commands share that work on a data folder themselves, without a server."""
