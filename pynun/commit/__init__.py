"""Group commit: the event loop on one side, the store on the other."""
