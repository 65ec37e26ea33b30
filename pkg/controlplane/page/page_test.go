package page

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/controlplane"
)

// fake is a source with things that must be escaped.
type fake struct {
	groups map[string][]controlplane.TypeSummary
}

func (fake) Clients() []controlplane.ClientStatus {
	now := time.Now()
	return []controlplane.ClientStatus{
		{Node: "<b>edge", Cluster: "front", Group: "front", Agent: "weir 1", Peer: "192.0.2.1:5", Since: now.Add(-time.Hour), Streams: []controlplane.StreamStatus{{
			Service: "ADS", Delta: true, Since: now, Types: []controlplane.TopicStatus{
				{Type: "Cluster", Wildcard: true, Resources: 2, Sent: "v2", Acked: "v1", Error: "no\n<i>good", ErrorVersion: "v2", ErrorAt: now, Nacks: 1},
				{Type: "Listener", Names: 1, Sent: "v1", Pending: true},
			},
		}}},
		{Node: "gone", Group: "none", Peer: "192.0.2.2:5", Since: now.Add(-time.Hour), Gone: now, Streams: []controlplane.StreamStatus{{Service: "REST", Ended: now}}},
		{Node: "other", Group: "none", Peer: "192.0.2.3:5", Since: now},
	}
}

func (f fake) Groups() map[string][]controlplane.TypeSummary { return f.groups }

func (f fake) Resources(group string) ([]controlplane.ResourceStatus, bool) {
	_, ok := f.groups[group]
	return []controlplane.ResourceStatus{{Type: "Cluster", Name: "a", Version: "1", Origin: "a.yaml:1:1"}}, ok
}

func (fake) LoadState() controlplane.LoadState {
	return controlplane.LoadState{Dir: "dir", Loaded: time.Now(), Errors: []string{"a.yaml:3:1: <script>"}, Groups: []string{"front"}, Warnings: []string{"w"}, Files: 3}
}

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "name"
	}
	return out
}

func TestHandler(t *testing.T) {
	src := fake{map[string][]controlplane.TypeSummary{
		"":      {{Type: "Cluster", Version: "abc", Names: names(500)}},
		"front": {{Type: "Listener", Version: "def", Names: []string{"in"}}},
	}}
	h, err := Handler(src, Options{Version: "test", Listen: "addr", GroupBy: "cluster", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		return w.Code, w.Body.String()
	}
	for path, want := range map[string][]string{
		"/":                           {"&lt;b&gt;edge", "&lt;i&gt;good", "&lt;script&gt;", "Group <b>front</b> keeps", "name and others", "and more: see", "gone", "1 h ago"},
		"/metrics":                    {`weir_xds_clients{group=""} 1`, `weir_xds_clients{group="front"} 1`, `weir_xds_resources{group="",type="Cluster"} 500`, "weir_xds_load_errors 1", "weir_xds_clients_rejecting 1"},
		"/resources.json?group=front": {`"origin": "a.yaml:1:1"`},
		"/ready":                      {"LIVE"},
	} {
		code, body := get(http.MethodGet, path)
		for _, text := range want {
			if code != http.StatusOK || !strings.Contains(body, text) {
				t.Errorf("%s: %d, lacks %q: %s", path, code, text, body)
			}
		}
		if strings.Contains(body, "<b>edge") || strings.Contains(body, "<i>good") {
			t.Errorf("%s is not escaped", path)
		}
	}
	var s struct {
		Connected, Rejecting, Resources int
		Load                            struct{ Errors []string }
	}
	if _, body := get(http.MethodGet, "/status.json"); json.Unmarshal([]byte(body), &s) != nil || s.Connected != 2 || s.Rejecting != 1 || s.Resources != 501 || len(s.Load.Errors) != 1 {
		t.Errorf("status = %+v", s)
	}
	for path, want := range map[string]int{"/resources.json?group=none": 404, "/none": 404} {
		if code, _ := get(http.MethodGet, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	if code, _ := get(http.MethodPost, "/"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	empty, err := Handler(fake{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	empty.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ready", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("ready without resources: %d", w.Code)
	}
}
