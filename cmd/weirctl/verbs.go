package main

// verbs lists the subcommands in the order they are shown.
func verbs() []verb {
	return []verb{
		{"exec", "[-c FILE] -- COMMAND ...", "run a command with its connections intercepted", runExec},
		{"validate", "FILE|DIR ...", "check bootstrap configurations", runValidate},
		{"xds", "serve --listen ADDR DIR", "serve a directory of resources over xDS", runXDS},
		{"doctor", "", "say what of weir works on this host", runDoctor},
	}
}
