"""Many virtual hospitals on one machine, running the code that real ones run."""
