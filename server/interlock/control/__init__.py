"""The owner's local socket: how other processes of the same user talk to the one that owns the store."""
