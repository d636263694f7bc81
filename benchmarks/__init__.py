"""What Interlock has to reach, measured: each module here is one measurement that also runs alone."""
