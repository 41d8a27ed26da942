"""The demo: a gated network for three questions about a picture of a person, trained for real."""
