"""The runner: the parts of the one program that is sent to a host and runs calls there. The server runs none of it."""
