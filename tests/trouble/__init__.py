"""Programs in trouble, for test_see.py: each is to be named, with its line.  They run until they are killed."""
