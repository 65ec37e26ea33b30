package health

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestIntervalsByRuntime(t *testing.T) {
	check := &model.HealthCheck{Interval: 10 * time.Second}
	for name, tc := range map[string]struct {
		keys map[string]uint64
		want time.Duration
	}{
		"configured": {nil, 10 * time.Second},
		"longer":     {map[string]uint64{"health_check.min_interval": 30_000}, 30 * time.Second},
		"shorter":    {map[string]uint64{"health_check.max_interval": 500}, 500 * time.Millisecond},
		"within":     {map[string]uint64{"health_check.min_interval": 1, "health_check.max_interval": 1<<64 - 1}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Checker{opt: Options{Check: check, Traffic: func() bool { return true }, Runtime: model.RuntimeOf(tc.keys)}}
			if got := c.wait(false); got != tc.want {
				t.Errorf("waits %v, want %v", got, tc.want)
			}
		})
	}
}

func TestServiceNameByRuntime(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	check := &model.HealthCheck{HTTP: &model.HTTPHealthCheck{
		Path: "/", Method: "GET", Expected: []model.StatusRange{{Start: 404, End: 405}}, ServiceName: &model.StringMatcher{Value: "bank"},
	}}
	for percent, want := range map[uint64]kind{0: success, 100: wrongService} {
		p := newHTTP(&Options{Check: check, Target: dialling(server.Listener.Addr().String()), Runtime: model.RuntimeOf(map[string]uint64{"health_check.verify_cluster": percent})})
		if got := p.check(t.Context()); got.kind != want {
			t.Errorf("%d%%: %+v", percent, got)
		}
		p.close()
	}
}
