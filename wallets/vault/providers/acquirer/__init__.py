"""The simulated acquirer as a process of its own: the same code behind HTTP, with switches for faults."""
