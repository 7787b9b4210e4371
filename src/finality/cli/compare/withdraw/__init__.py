"""Withdraw $100: the rules once, and a module for each way to apply them."""
