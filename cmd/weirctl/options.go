package main

import (
	"fmt"
	"slices"
	"strings"
)

// optionSet is what a command knows beside --help.
type optionSet struct {
	// help is its text, in which the nearest of them is looked for when there is none of a name.
	help string
	// flags have no value, values have one.
	flags, values []string
	flag          func(name string)
	option        func(name, value string) error
}

// parseOptions reads a command line that has options alone. Values may follow their option after a space or after "=". The error is
// errHelp when help was asked for.
func parseOptions(args []string, o optionSet) error {
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		switch {
		case name == "-h" || name == "--help":
			return errHelp
		case slices.Contains(o.flags, name) && joined:
			return fmt.Errorf("%s has no value", name)
		case slices.Contains(o.flags, name):
			o.flag(name)
			continue
		case !strings.HasPrefix(name, "-"):
			return fmt.Errorf("unexpected argument %q", name)
		case !slices.Contains(o.values, name):
			return unknownOption(name, o.help)
		case !joined && len(args) == 0:
			return fmt.Errorf("%s needs a value", name)
		case !joined:
			value, args = args[0], args[1:]
		}
		if err := o.option(name, value); err != nil {
			return err
		}
	}
	return nil
}
