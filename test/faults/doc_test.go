// Package faults tests what applications see when weir is killed or stopped at any moment, and when the host does not give it what it
// needs.
package faults

import (
	"os"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
