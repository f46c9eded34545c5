"""Rules of card networks and banks as dated data."""
