"""What a tool is: arguments, envelope, errors, expected effect, and the plan it asks of a host. Nothing connects."""
