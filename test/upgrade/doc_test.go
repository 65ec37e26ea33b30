// Package upgrade tests what happens to connections while weir is replaced, killed, stopped or started twice.
package upgrade

import (
	"os"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
