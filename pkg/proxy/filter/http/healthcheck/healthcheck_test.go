package healthcheck

import (
	"testing"
	"testing/synctest"
	"time"

	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/filtertest"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func onPath(path string) []model.HeaderMatcher {
	return []model.HeaderMatcher{{Name: ":path", String: model.StringMatcher{Value: path}}}
}

func deps(failed *bool) filter.Deps {
	d := filtertest.Deps(stats.NewStore(), "hc")
	d.HealthFailed = func() bool { return *failed }
	return d
}

func build(t *testing.T, c *Config, d filter.Deps) filter.HTTP {
	t.Helper()
	f, err := c.NewHTTP(d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// ask sends a request and returns its run and response; upstream is the status that the rest of the chain answers.
func ask(t *testing.T, f filter.HTTP, path string, upstream int) (*filtertest.Run, *message.Response) {
	t.Helper()
	run := filtertest.New(t, &message.Request{Method: "GET", Path: path}, func(s *filter.Stream) (*message.Response, error) {
		s.Response.Reset()
		s.Response.Status = upstream
		return s.Response, nil
	})
	resp, err := run.Through(f)
	if err != nil {
		t.Fatal(err)
	}
	return run, resp
}

func wantReply(t *testing.T, run *filtertest.Run, resp *message.Response, status int, details string) {
	t.Helper()
	unwell := run.Info.Flags&streaminfo.FailedLocalHealthCheck != 0
	if resp.Status != status || run.Info.Details != details || !run.Info.HealthCheck || unwell != (status != 200) {
		t.Errorf("status %d, details %q, flags %s, health check %v", resp.Status, run.Info.Details, run.Info.Flags, run.Info.HealthCheck)
	}
	if v, ok := resp.Headers.Lookup("x-envoy-upstream-healthchecked-cluster"); !ok || v != "local" {
		t.Errorf("cluster header %q, %v", v, ok)
	}
}

func TestAnsweredHere(t *testing.T) {
	failed := false
	f := build(t, &Config{Headers: onPath("/ok")}, deps(&failed))
	run, resp := ask(t, f, "/ok", 418)
	wantReply(t, run, resp, 200, "health_check_ok")
	if run, resp := ask(t, f, "/else", 418); resp.Status != 418 || run.Info.HealthCheck || resp.Headers.Len() != 0 {
		t.Errorf("another request got %d, %v", resp.Status, resp.Headers)
	}
	failed = true
	run, resp = ask(t, f, "/ok", 418)
	wantReply(t, run, resp, 503, "health_check_failed")
	if _, resp := ask(t, f, "/else", 200); resp.Headers.Get(message.XEnvoyImmediateHealthCheckFail) != "true" {
		t.Error("other responses do not tell of the failure")
	}
}

func TestPassThrough(t *testing.T) {
	failed := false
	f := build(t, &Config{PassThrough: true, Headers: onPath("/ok")}, deps(&failed))
	run, resp := ask(t, f, "/ok", 204)
	if resp.Status != 204 || run.Replied || !run.Info.HealthCheck {
		t.Errorf("status %d, replied %v", resp.Status, run.Replied)
	}
	failed = true
	run, resp = ask(t, f, "/ok", 204)
	wantReply(t, run, resp, 503, "health_check_failed")
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := false
		f := build(t, &Config{PassThrough: true, CacheTime: time.Second, Headers: onPath("/ok")}, deps(&failed))
		time.Sleep(400 * time.Millisecond)
		if run, resp := ask(t, f, "/ok", 500); resp.Status != 500 || run.Replied {
			t.Errorf("the first answer is %d", resp.Status)
		}
		time.Sleep(500 * time.Millisecond)
		run, resp := ask(t, f, "/ok", 200)
		wantReply(t, run, resp, 500, "health_check_cached")
		time.Sleep(100 * time.Millisecond) // the second is over
		if run, resp := ask(t, f, "/ok", 200); resp.Status != 200 || run.Replied {
			t.Errorf("the answer after the period is %d", resp.Status)
		}
	})
}

func TestMinHealthy(t *testing.T) {
	failed := false
	store := stats.NewStore()
	half, empty := filtertest.NewCluster(store, "half"), filtertest.NewCluster(store, "empty")
	half.Stats().MembershipTotal.Set(4)
	half.Stats().MembershipHealthy.Set(1)
	half.Stats().MembershipDegraded.Set(1)
	d := deps(&failed)
	d.Clusters = filtertest.Clusters{"half": half, "empty": empty}
	cases := []struct {
		name    string
		need    []MinHealthy
		status  int
		details string
	}{
		{"enough", []MinHealthy{{"half", 50}}, 200, "health_check_ok_cluster_healthy"},
		{"not enough", []MinHealthy{{"half", 51}}, 503, "health_check_failed_cluster_unhealthy"},
		{"unknown", []MinHealthy{{"nope", 0}}, 503, "health_check_failed_no_cluster_found"},
		{"empty", []MinHealthy{{"empty", 1}}, 503, "health_check_failed_cluster_empty"},
		{"may be empty", []MinHealthy{{"empty", 0}, {"half", 50}}, 200, "health_check_ok_cluster_healthy"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			run, resp := ask(t, build(t, &Config{MinHealthy: c.need, Headers: onPath("/ok")}, d), "/ok", 418)
			wantReply(t, run, resp, c.status, c.details)
		})
	}
}

func TestDecode(t *testing.T) {
	cases := []struct{ json, want string }{
		{`{}`, "pass_through_mode: must be set"},
		{`{"pass_through_mode": false, "cache_time": "1s"}`, "cache_time: must not be set when pass_through_mode is disabled"},
		{`{"pass_through_mode": true, "headers": [{"name": ""}]}`, "headers[0].name: must not be empty"},
		{`{"pass_through_mode": false, "cluster_min_healthy_percentages": {"a": {"value": 101}}}`, `cluster_min_healthy_percentages["a"]: 101 is not a percentage`},
	}
	for _, c := range cases {
		m := &healthv3.HealthCheck{}
		if err := protojson.Unmarshal([]byte(c.json), m); err != nil {
			t.Fatal(err)
		}
		if _, err := decodeConfig(m); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.json, err, c.want)
		}
	}
	m := &healthv3.HealthCheck{}
	if err := protojson.Unmarshal([]byte(`{"pass_through_mode": false, "cluster_min_healthy_percentages": {"b": {"value": 12.9}, "a": {"value": 100}}}`), m); err != nil {
		t.Fatal(err)
	}
	c, err := decodeConfig(m)
	if err != nil || len(c.MinHealthy) != 2 || c.MinHealthy[0] != (MinHealthy{"a", 100}) || c.MinHealthy[1] != (MinHealthy{"b", 12}) {
		t.Errorf("%+v, %v", c, err)
	}
}
