package httprouter

import (
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestTell(t *testing.T) {
	for _, tc := range []struct {
		name           string
		t              timeouts
		elapsed        time.Duration
		expected, grpc string
	}{
		{"unlimited", timeouts{rewriteGRPC: true}, 0, "", ""},
		{"global", timeouts{global: 3 * time.Second}, 0, "3000", ""},
		{"per try", timeouts{global: 3 * time.Second, perTry: time.Second, rewriteGRPC: true}, 0, "1000", "1000m"},
		{"what is left", timeouts{global: 3 * time.Second, perTry: time.Second}, 2500 * time.Millisecond, "500", ""},
		{"nothing is left", timeouts{global: 3 * time.Second}, 4 * time.Second, "1", ""},
		{"hedged attempts go on", timeouts{global: 3 * time.Second, perTry: time.Second, hedge: true}, 0, "3000", ""},
		{"per try only", timeouts{perTry: time.Second}, time.Hour, "1000", ""},
		{"long", timeouts{global: 40 * time.Hour, rewriteGRPC: true}, 0, "144000000", "144000S"},
	} {
		req := &message.Request{}
		s := &filter.Stream{Request: req}
		tc.t.tell(s, tc.elapsed, true)
		if e, g := req.Headers.Get(message.XEnvoyExpectedRQTimeoutMS), req.Headers.Get(message.GRPCTimeout); e != tc.expected || g != tc.grpc {
			t.Errorf("%s: expected %q, grpc-timeout %q; want %q, %q", tc.name, e, g, tc.expected, tc.grpc)
		}
	}
}

func TestAppendGRPCTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Millisecond: "1m", 99_999_999 * time.Millisecond: "99999999m", 100_000_000 * time.Millisecond: "100000S",
		1<<63 - 1: "2562047H",
	} {
		got := string(appendGRPCTimeout(nil, d))
		if got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
		if _, ok := format.GRPCTimeout(got); !ok {
			t.Errorf("%q cannot be read", got)
		}
	}
}
