// Package version says what this build is, in weir's terms and in the form that Envoy's tools expect.
package version

import (
	"fmt"
	"runtime"
)

// Envoy is the version of Envoy whose configuration and interfaces weir follows.
const Envoy = "1.32.0"

// EnvoyMajor, EnvoyMinor and EnvoyPatch are its parts, for node.user_agent_build_version.
const (
	EnvoyMajor = 1
	EnvoyMinor = 32
	EnvoyPatch = 0
)

// Set by the linker (Makefile).
var (
	build  = "unknown"
	commit = "unknown"
)

// Build is weir's own version, as git describes it.
func Build() string { return build }

// String is the five-part version that tools such as kuma-dp parse: commit, Envoy's version, state of the tree, build type and
// TLS library.
func String() string {
	return fmt.Sprintf("%s/%s/Clean/RELEASE/Go", commit, Envoy)
}

// Line is what --version prints.
func Line(program string) string {
	return fmt.Sprintf("\n%s  version: %s\n\nweir %s, %s %s/%s\n", program, String(), build, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
