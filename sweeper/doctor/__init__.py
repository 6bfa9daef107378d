"""Whether this machine will carry a long study, found out before it starts."""
