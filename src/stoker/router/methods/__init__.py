"""What clients may ask, a file for each subject; the table has them all."""
