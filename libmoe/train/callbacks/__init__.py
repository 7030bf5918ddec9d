"""What watches and steers training: one concern a file, put in order by `assemble`."""
