"""Publishing: the house over MCP. It speaks to clients and to `ports.Front`; it knows neither store nor hosts.

Importing this package is free; its modules load the protocol's library when they are imported themselves.
"""
