package accel

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/features"
)

func TestSupported(t *testing.T) {
	lacks := errors.New("something is missing")
	for _, test := range []struct {
		name         string
		mode         Mode
		major, minor uint32
		lacks        error
		want         string
	}{
		{"receive, too old", Receive, 5, 15, nil, "receive needs Linux 5.19, this is 5.15: "},
		{"receive, oldest", Receive, 5, 19, nil, ""},
		{"receive, later", Receive, 6, 1, nil, ""},
		{"receive, built without", Receive, 6, 1, lacks, "something is missing"},
		{"full, too old", Full, 6, 12, nil, "full needs Linux 6.13, this is 6.12: "},
		{"full, oldest", Full, 6, 13, nil, ""},
		{"full, later", Full, 7, 0, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := supported(test.mode, test.major, test.minor, test.lacks); err != nil {
				got = err.Error()
			}
			if got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestSupportedHere: what keeps a mode off on a kernel that this is tested on is its version alone.
func TestSupportedHere(t *testing.T) {
	code, err := features.LinuxVersionCode()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []Mode{Receive, Full} {
		old := code>>8 < minimum[m].major<<8|minimum[m].minor
		if err := Supported(m); (err != nil) != old {
			t.Errorf("%s on Linux %d.%d: %v", m, code>>16, code>>8&0xff, err)
		}
	}
}
