"""What a caller may ask for; shared by the socket, HTTP and the command line."""
