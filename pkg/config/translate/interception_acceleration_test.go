package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestAcceleration(t *testing.T) {
	type message = interceptionv1.Acceleration
	const receive, full = interceptionv1.Acceleration_RECEIVE, interceptionv1.Acceleration_FULL
	apps := []string{"batch.slice"}
	for _, tt := range []struct {
		name string
		in   *message
		want model.Acceleration
		errs []string
	}{
		{name: "none"},
		{name: "receive", in: &message{Mode: receive}, want: model.Acceleration{Mode: model.AccelerateReceive}},
		{
			name: "full", in: &message{Mode: full, Applications: apps, MaxUnreadBytes: 65536, MinOperations: 1},
			want: model.Acceleration{Mode: model.AccelerateFull, Applications: apps, MaxUnread: 65536, MinOperations: 1},
		},
		{
			name: "greatest", in: &message{Mode: receive, MaxUnreadBytes: 16 << 20, MinOperations: 1_000_000},
			want: model.Acceleration{Mode: model.AccelerateReceive, MaxUnread: 16 << 20, MinOperations: 1_000_000},
		},
		{name: "unknown", in: &message{Mode: 9}, errs: []string{"mode: 9 is none of OFF, RECEIVE and FULL"}},
		{name: "nobody", in: &message{Mode: full}, errs: []string{"applications: mode FULL needs the cgroups"}},
		{name: "empty", in: &message{Mode: full, Applications: []string{"a", ""}}, errs: []string{"applications[1]: is empty"}},
		{name: "no glob", in: &message{Mode: full, Applications: []string{"a[", "b"}}, errs: []string{`applications[0]: "a[" is no glob`}},
		{name: "useless", in: &message{Applications: apps}, errs: []string{"applications: mode OFF has no use for them"}},
		{
			name: "out of bounds", in: &message{Mode: receive, MaxUnreadBytes: 65535, MinOperations: 1_000_001},
			errs: []string{"max_unread_bytes: 65535 is not between 65536 and 16777216", "min_operations: 1000001 is more than 1000000"},
		},
		{name: "too large", in: &message{Mode: receive, MaxUnreadBytes: 16<<20 + 1}, errs: []string{"max_unread_bytes: 16777217 is not"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			decoded, err := decodeInterception(&interceptionv1.Interception{Acceleration: tt.in})
			for _, want := range tt.errs {
				if err == nil || !strings.Contains(err.Error(), "acceleration."+want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
			if len(tt.errs) > 0 {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, decoded.(*model.Interception).Acceleration); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
