"""Shell analysis: what a command line reads, writes, deletes and reaches, found without running it; pure."""
