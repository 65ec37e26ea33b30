package xds

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// restServer answers each request as the test says.
type restServer struct {
	*httptest.Server
	requests chan *discoveryv3.DiscoveryRequest
	raw      chan string
	answers  chan restAnswer
}

type restAnswer struct {
	status int
	body   string
}

func newRESTServer(t *testing.T) *restServer {
	s := &restServer{requests: make(chan *discoveryv3.DiscoveryRequest, 100), raw: make(chan string, 100), answers: make(chan restAnswer)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		q := &discoveryv3.DiscoveryRequest{}
		if err == nil {
			err = protojson.Unmarshal(text, q)
		}
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		s.raw <- r.Host + r.URL.Path + " " + string(text)
		s.requests <- q
		select {
		case a := <-s.answers:
			w.WriteHeader(a.status)
			_, _ = io.WriteString(w, a.body) // the client may have given up
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// startREST follows clusters from servers that are called one, two, ...
func startREST(t *testing.T, h *recorder, timeout time.Duration, servers ...*restServer) *Sources {
	t.Helper()
	names := []string{"one", "two"}[:len(servers)]
	s := startSources(t, SourcesOptions{Handler: h, HTTP: func(name string) (http.RoundTripper, error) {
		for i, n := range names {
			if n == name {
				return &http.Transport{DisableKeepAlives: true, Proxy: nil, DialContext: dialTo(servers[i].Listener.Addr())}, nil
			}
		}
		return nil, errors.New("unknown cluster " + name)
	}})
	s.SubscribeAll(&model.Source{Kind: model.SourceAPI, API: &model.APISource{
		Type: model.APIREST, Clusters: names, RefreshDelay: time.Millisecond, RequestTimeout: timeout,
	}}, ClusterType)
	return s
}

func restBody(t *testing.T, version string, camel bool, names ...string) string {
	t.Helper()
	r := &discoveryv3.DiscoveryResponse{VersionInfo: version, TypeUrl: ClusterType, ControlPlane: &corev3.ControlPlane{Identifier: "rest server"}}
	for _, n := range names {
		a, err := anypb.New(&clusterv3.Cluster{Name: n})
		if err != nil {
			t.Fatal(err)
		}
		r.Resources = append(r.Resources, a)
	}
	text, err := protojson.MarshalOptions{UseProtoNames: !camel}.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRESTLifeOfASubscription(t *testing.T) {
	server, h := newRESTServer(t), newRecorder()
	h.verdict = func(u Update) error {
		if u.Version == "bad" {
			return errors.New("cluster x: no")
		}
		return nil
	}
	startREST(t, h, patience, server)
	steps := []struct {
		answer restAnswer
		// want is the request that brings the answer about.
		want *discoveryv3.DiscoveryRequest
		// names are those of the update; nil: there is none.
		names []string
	}{
		{restAnswer{500, "no snapshot yet"}, &discoveryv3.DiscoveryRequest{}, nil},
		{restAnswer{404, ""}, &discoveryv3.DiscoveryRequest{}, nil},
		{restAnswer{200, restBody(t, "v1", false, "a", "b")}, &discoveryv3.DiscoveryRequest{}, []string{"a", "b"}},
		{restAnswer{304, ""}, &discoveryv3.DiscoveryRequest{VersionInfo: "v1"}, nil},
		{restAnswer{200, restBody(t, "v2", true, "b")}, &discoveryv3.DiscoveryRequest{VersionInfo: "v1"}, []string{"b"}},
		{restAnswer{200, restBody(t, "bad", true, "x")}, &discoveryv3.DiscoveryRequest{VersionInfo: "v2"}, []string{"x"}},
		{restAnswer{304, ""}, &discoveryv3.DiscoveryRequest{VersionInfo: "v2", ErrorDetail: errorDetail(errors.New("cluster x: no"))}, nil},
		{restAnswer{200, restBody(t, "v3", false)}, &discoveryv3.DiscoveryRequest{VersionInfo: "v2", ErrorDetail: errorDetail(errors.New("cluster x: no"))}, []string{}},
		{restAnswer{304, ""}, &discoveryv3.DiscoveryRequest{VersionInfo: "v3"}, nil},
	}
	for i, step := range steps {
		if raw := receive(t, server.raw); i == 0 && !strings.HasPrefix(raw, `one/v3/discovery:clusters {`) || strings.Contains(raw, "typeUrl") {
			t.Errorf("request %q", raw)
		}
		step.want.TypeUrl, step.want.Node = ClusterType, testNode()
		if diff := cmp.Diff(step.want, receive(t, server.requests), protocmp.Transform()); diff != "" {
			t.Fatalf("step %d (-want +got):\n%s", i, diff)
		}
		server.answers <- step.answer
		if step.names == nil {
			continue
		}
		u := h.next(t)
		if got := namesOf(u); !u.Full || strings.Join(got, " ") != strings.Join(step.names, " ") {
			t.Errorf("step %d: update %+v", i, u)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failures[ClusterType] != 2 || h.attempts[ClusterType] < len(steps) {
		t.Errorf("%d failures, %d attempts", h.failures[ClusterType], h.attempts[ClusterType])
	}
}

func TestRESTAnswersThatCannotBeUsed(t *testing.T) {
	tests := []struct {
		name, want string
		answer     restAnswer
	}{
		{"empty", "is empty", restAnswer{200, " \n"}},
		{"garbage", "decode discovery response", restAnswer{200, "\x00\xff"}},
		{"cut", "decode discovery response", restAnswer{200, restBody(t, "v1", false, "a")[:20]}},
		{"no object", "decode discovery response", restAnswer{200, "[]"}},
		{"unknown type", "decode discovery response", restAnswer{200, `{"resources": [{"@type": "type.googleapis.com/no.Such"}]}`}},
		{"another type", "resources of type", restAnswer{200, `{"type_url": "` + ListenerType + `"}`}},
		{"redirect", "status 302", restAnswer{302, ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, h := newRESTServer(t), newRecorder()
			startREST(t, h, patience, server)
			receive(t, server.requests)
			server.answers <- tt.answer
			if err := receive(t, h.failure); !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrUnreadable) != (tt.answer.status == 200) {
				t.Errorf("failure %v, want %q", err, tt.want)
			}
			receive(t, server.requests)
			server.answers <- restAnswer{200, restBody(t, "v1", false, "a")}
			if u := h.next(t); len(u.Resources) != 1 {
				t.Errorf("update %+v", u)
			}
		})
	}
}

func TestRESTTriesTheNextServer(t *testing.T) {
	one, two, h := newRESTServer(t), newRESTServer(t), newRecorder()
	startREST(t, h, 50*time.Millisecond, one, two)
	receive(t, one.requests) // never answered
	if err := receive(t, h.failure); !strings.Contains(err.Error(), "deadline") {
		t.Errorf("failure %v", err)
	}
	receive(t, two.requests)
	two.answers <- restAnswer{200, restBody(t, "v1", false, "a")}
	if u := h.next(t); u.Version != "v1" {
		t.Errorf("update %+v", u)
	}
}

func TestRESTAsksAtOnceForMoreNames(t *testing.T) {
	server, h := newRESTServer(t), newRecorder()
	r := newREST(restOptions{
		servers: []RESTServer{{Name: "s", Transport: func() (http.RoundTripper, error) {
			return &http.Transport{DisableKeepAlives: true, DialContext: dialTo(server.Listener.Addr())}, nil
		}}},
		service: mustService(EndpointType), refresh: time.Hour, timeout: patience, node: testNode, handler: h, log: testLog(t),
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(t.Context())
	}()
	t.Cleanup(func() { <-done })
	ask := func(want ...string) {
		t.Helper()
		q := receive(t, server.requests)
		if diff := cmp.Diff(want, q.ResourceNames); diff != "" || q.VersionInfo != "" {
			t.Errorf("request %v", q)
		}
		server.answers <- restAnswer{200, `{"version_info": "v1"}`}
		h.next(t)
	}
	r.Subscribe(EndpointType, "b")
	ask("b")
	r.Subscribe(EndpointType, "b") // nothing new
	r.Unsubscribe(EndpointType, "b")
	r.Subscribe(EndpointType, "a")
	ask("a")
}
