"""What every capability stands on: money, ids, errors, clock, the store, tasks and the event log."""
