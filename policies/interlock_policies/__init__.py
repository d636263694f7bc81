"""What may happen: shell and path analysis, the Cedar decision, obligations, costs and redaction. No I/O, no clock."""
