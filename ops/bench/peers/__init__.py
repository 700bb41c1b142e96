"""What others store on the same machine, measured beside us."""
