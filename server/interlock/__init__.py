"""Interlock: an MCP server whose tools are contracts, decided by policy and enforced before a host is touched."""

__version__ = "0.1.0"
