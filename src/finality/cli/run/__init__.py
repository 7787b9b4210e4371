"""`finality run`: one durable saga for each line of a file."""
