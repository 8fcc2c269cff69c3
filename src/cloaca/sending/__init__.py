"""What goes to workers of the program: functions, variables and modules."""
