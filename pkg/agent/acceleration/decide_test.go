package acceleration

import (
	"context"
	"errors"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/accel"
)

func TestDecide(t *testing.T) {
	const off, receive, full = model.AccelerateNothing, model.AccelerateReceive, model.AccelerateFull
	old, broken := errors.New("needs Linux 6.13"), errors.New("3 bytes were lost")
	for _, tt := range []struct {
		name  string
		asked model.AccelerationMode
		// What the kernel lacks, and what came of tests, for RECEIVE and FULL.
		lacks, tested [2]error
		counts        error
		named         bool
		want          verdict
		tests         int
	}{
		{name: "off", asked: off, lacks: [2]error{old, old}},
		{name: "receive", asked: receive, lacks: [2]error{nil, old}, want: verdict{mode: receive}, tests: 1},
		{name: "full", asked: full, want: verdict{mode: full}, tests: 1},
		{name: "receive is denied", asked: receive, lacks: [2]error{old, nil}, want: verdict{why: "RECEIVE: needs Linux 6.13"}},
		{name: "full is denied", asked: full, lacks: [2]error{nil, old}, want: verdict{mode: receive, why: "FULL: needs Linux 6.13"}, tests: 1},
		{name: "all is denied", asked: full, lacks: [2]error{old, old}, want: verdict{why: "FULL: needs Linux 6.13; RECEIVE: needs Linux 6.13"}},
		{name: "receive fails", asked: receive, tested: [2]error{broken, nil}, want: verdict{why: "RECEIVE: 3 bytes were lost"}, tests: 1},
		{name: "full fails", asked: full, tested: [2]error{nil, broken}, want: verdict{mode: receive, why: "FULL: 3 bytes were lost"}, tests: 2},
		{
			name: "both fail", asked: full, tested: [2]error{broken, broken}, tests: 2,
			want: verdict{why: "FULL: 3 bytes were lost; RECEIVE: 3 bytes were lost"},
		},
		{
			name: "bytes are not counted", asked: receive, counts: broken, tests: 1,
			want: verdict{why: "RECEIVE: only acceleration.applications could be accelerated, and there are none: 3 bytes were lost"},
		},
		{
			name: "bytes are not counted, and applications are named", asked: full, counts: broken, named: true, tests: 1,
			want: verdict{mode: full, named: true, why: "only the sockets of acceleration.applications are taken in: 3 bytes were lost"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tests := 0
			got := decide(t.Context(), tt.asked, tt.named, host{
				supported: func(m accel.Mode) error { return tt.lacks[m] },
				test: func(_ context.Context, m accel.Mode) error {
					tests++
					return tt.tested[m]
				},
				counts: func(context.Context) error { return tt.counts },
			})
			if got != tt.want || tests != tt.tests {
				t.Errorf("%+v after %d tests, want %+v after %d", got, tests, tt.want, tt.tests)
			}
		})
	}
}
