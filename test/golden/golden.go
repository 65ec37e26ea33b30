// Package golden compares what tests made with files that hold what is wanted, and writes those when a test runs with -update. It is a
// leaf that the tests of any package may use.
//
// Its state is the flag.
package golden

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Update tells whether golden files are to be written instead of compared.
func Update() bool { return *update }

// Check compares got with the file, whose path begins at the folder of the package under test, as "testdata/name.golden". With -update
// it writes the file first.
func Check[Text ~string | ~[]byte](t testing.TB, file string, got Text) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
