package hcm_test

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Clients on phones have statistics of their own, by what the first request of a connection says.
func TestStatsOfUserAgents(t *testing.T) {
	addr := backend(t, echo)
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Timeout: requestTimeout})),
		options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	for _, agents := range [][]string{{"App/1 (iPhone; iOS 18)", "curl"}, {"curl", "android"}, {"okhttp android"}, {"x iOS"}} {
		c := p.dial()
		for _, agent := range agents {
			c.send("GET / HTTP/1.1\r\nHost: example.com\r\nUser-Agent: " + agent + "\r\n\r\n")
			if resp, _ := c.read("GET"); resp.StatusCode != 200 {
				t.Fatalf("%s: %d", agent, resp.StatusCode)
			}
		}
		_ = c.Close()
	}
	p.eventually("connections are counted out", func() bool { return p.counter("http.test.downstream_cx_active") == 0 })
	for name, want := range map[string]uint64{
		"http.test.user_agent.ios.downstream_cx_total": 2, "http.test.user_agent.ios.downstream_rq_total": 3,
		"http.test.user_agent.android.downstream_cx_total": 1, "http.test.user_agent.android.downstream_rq_total": 1,
		"http.test.user_agent.ios.downstream_cx_destroy_remote_active_rq": 0,
	} {
		if got := p.counter(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}
