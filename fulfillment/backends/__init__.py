"""Order backends behind one port."""
