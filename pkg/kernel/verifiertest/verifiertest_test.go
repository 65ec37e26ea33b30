package verifiertest

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMerge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "verifier.golden")
	for _, found := range [][]Cost{
		{{"6.12", "p", 5}, {"6.12", "gone", 9}},
		{{"6.1", "q", 1}, {"6.1", "p", 7}},
		{{"6.12", "p", 6}, {"6.12", "q", 2}},
	} {
		if err := Merge(path, found); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []Cost{{"6.1", "p", 7}, {"6.12", "p", 6}, {"6.1", "q", 1}, {"6.12", "q", 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("golden file (-want +got):\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	for line, want := range map[string]Cost{
		"    verifier_test.go:12: verifier: 6.1 weir_connect4 4711": {"6.1", "weir_connect4", 4711},
		"    verifier_test.go:12: verifier: 6.1 weir_connect4":      {},
		"=== RUN   TestVerifierCost":                                {},
	} {
		got, ok := Parse(line)
		if ok != (want != Cost{}) || ok && got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", line, got, ok, want)
		}
	}
}

func TestNearest(t *testing.T) {
	golden := []Cost{{"6.1", "p", 9}, {"6.12", "p", 5}, {"6.1", "q", 1}}
	for _, test := range []struct {
		of   Cost
		want string
	}{
		{Cost{"6.12", "p", 0}, "6.12"},
		{Cost{"6.18", "p", 0}, "6.1"},
		{Cost{"6.18", "none", 0}, ""},
	} {
		got, known := nearest(golden, test.of)
		if got.Series != test.want || known != (test.want != "") {
			t.Errorf("nearest(%v) = %v, %v; want series %q", test.of, got, known, test.want)
		}
	}
}
