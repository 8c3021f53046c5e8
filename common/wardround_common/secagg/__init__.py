"""Secure aggregation: the state machines of both ends, without input or output."""
