"""Telemetry: OpenTelemetry spans derived from the record. The rows are the truth; a lost export is made again."""
