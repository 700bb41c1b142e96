"""The keys: the command line, provisioning and the embedded servers. The only room that changes servers."""
