"""GraphQL over HTTP: running plans, and the protocol around them."""
