package translate

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// checkCgroup tells what is wrong with a path or glob of cgroups. The whole host has to be asked for by name: an empty one
// is what a template makes of a value that was left out.
func checkCgroup(name string) error {
	if name == "" {
		return errors.New(`is empty; "/" is all of the host`)
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return fmt.Errorf("%q must not contain %q", name, "..")
	}
	for element := range strings.SplitSeq(name, "/") {
		if _, err := filepath.Match(element, ""); err != nil {
			return fmt.Errorf("%q is no glob: %w", name, err)
		}
	}
	return nil
}
