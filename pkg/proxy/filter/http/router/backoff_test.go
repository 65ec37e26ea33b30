package httprouter

import (
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestNoteLimit(t *testing.T) {
	now := time.Unix(1000, 0)
	policy := &model.RetryPolicy{RateLimited: &model.RateLimitedBackOff{
		Headers: []model.ResetHeader{{Name: "retry-after"}, {Name: "x-reset", Unix: true}}, MaxInterval: 20 * time.Second,
	}}
	for _, tc := range []struct {
		headers [][2]string
		want    time.Duration
	}{
		{nil, 0},
		{[][2]string{{"Retry-After", " 7 "}}, 7 * time.Second},
		{[][2]string{{"Retry-After", "soon"}, {"x-reset", "1003"}}, 3 * time.Second},
		{[][2]string{{"Retry-After", "21"}, {"x-reset", "1020"}}, 20 * time.Second},
		{[][2]string{{"Retry-After", "0"}}, 0},
		{[][2]string{{"x-reset", "1000"}}, 0},
		{[][2]string{{"x-reset", "-9223372036854775808"}}, 0},
		{[][2]string{{"Retry-After", "9223372036854775807"}}, 0},
	} {
		h := &message.Headers{}
		for _, f := range tc.headers {
			h.Add(f[0], f[1])
		}
		r := retryState{policy: policy}
		if r.noteLimit(h, now); r.limited != tc.want {
			t.Errorf("%v: %v, want %v", tc.headers, r.limited, tc.want)
		}
	}
}

func TestBackOffOfTheRuntime(t *testing.T) {
	r := retryState{runtime: model.RuntimeOf(map[string]uint64{"upstream.base_retry_backoff_ms": 2})}
	for range 20 {
		if d := r.backOff(); d < 0 || d >= 20*time.Millisecond {
			t.Errorf("back-off %v is not below ten times the base", d)
		}
	}
	if r.max != 20*time.Millisecond {
		t.Errorf("the longest interval is %v", r.max)
	}
}
