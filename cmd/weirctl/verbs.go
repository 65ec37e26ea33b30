package main

// verbs lists the subcommands in the order they are shown.
func verbs() []verb {
	return []verb{
		{"exec", "[-c FILE] -- COMMAND ...", "run a command with its connections intercepted", runExec},
		{"explain", "[OPTIONS] [SRC] DST", "say what becomes of a connection, and why", runExplain},
		{"top", "[OPTIONS]", "show connections: who, where to, how much", runTop},
		{"events", "[OPTIONS]", "print the kernel's decisions as it takes them", runEvents},
		{"validate", "FILE|DIR ...", "check bootstraps and files of xDS resources", runValidate},
		{"compat", "[--write FILE | --check FILE]", "write which fields of Envoy's configuration do what", runCompat},
		{"xds", "serve --listen ADDR DIR", "serve a directory of resources over xDS", runXDS},
		{"cleanup", "[--dry-run] [--bpf-fs DIR]", "remove what a weir that is gone has left behind", runCleanup},
		{"doctor", "[--verbose] [--admin ADDR | -c FILE]", "say what of weir works on this host", runDoctor},
		{"demo", "", "show weir at work: an online shop, intercepted (root)", runDemo},
	}
}
