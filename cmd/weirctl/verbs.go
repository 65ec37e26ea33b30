package main

// verbs lists the subcommands in the order they are shown.
func verbs() []verb {
	return []verb{}
}
