package acceleration

import (
	"errors"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestDecide(t *testing.T) {
	const off, receive, full = model.AccelerateNothing, model.AccelerateReceive, model.AccelerateFull
	denied, broken := errors.New("Linux 5.4 is known to lose bytes"), errors.New("3 bytes were lost")
	for _, tt := range []struct {
		name              string
		asked             model.AccelerationMode
		denied            error
		receives, accepts error
		want              verdict
		tests             int
	}{
		{name: "off", asked: off, denied: denied},
		{name: "receive", asked: receive, want: verdict{mode: receive}, tests: 1},
		{name: "full", asked: full, want: verdict{mode: full}, tests: 1},
		{name: "denied", asked: full, denied: denied, want: verdict{why: "Linux 5.4 is known to lose bytes"}},
		{name: "receive does not work", asked: receive, receives: broken, want: verdict{why: "the test at start did not succeed: 3 bytes were lost"}, tests: 1},
		{
			name: "full does not work", asked: full, accepts: broken, tests: 2,
			want: verdict{mode: receive, why: "the test of FULL did not succeed: 3 bytes were lost"},
		},
		{
			name: "nothing works", asked: full, accepts: errors.New("a"), receives: errors.New("b"), tests: 2,
			want: verdict{why: "the test at start did not succeed: b"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tests := 0
			got := decide(tt.asked, host{
				supported: func() error { return tt.denied },
				test: func(full bool) error {
					tests++
					if full {
						return tt.accepts
					}
					return tt.receives
				},
			})
			if got != tt.want || tests != tt.tests {
				t.Errorf("%+v after %d tests, want %+v after %d", got, tests, tt.want, tt.tests)
			}
		})
	}
}
