"""Style and script of the hosted pages."""
