"""What protection and convenience cost, measured against goals and against the usual ways."""
