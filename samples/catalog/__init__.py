"""Two sample merchants, and the program that makes their 3D models."""
