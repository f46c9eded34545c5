"""WebSocket sessions: a core without I/O, the hub and the socket shell."""
