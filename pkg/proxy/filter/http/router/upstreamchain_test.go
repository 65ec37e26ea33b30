package httprouter

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/upstreamcodec"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// chainCluster is a fakeCluster that keeps attachments and whose host answers with statuses in turn, and says what it got.
type chainCluster struct {
	*fakeCluster
	attached any
	statuses []int
	got      []string // x-up of each request
}

func (c *chainCluster) Cluster(string) filter.Cluster { return c }
func (c *chainCluster) Attach(create func() any) any {
	if c.attached == nil {
		c.attached = create()
	}
	return c.attached
}

func (c *chainCluster) Reuse(*upstream.Host, *filter.StreamOptions) codec.ClientStream {
	return &chainStream{c: c}
}

type chainStream struct {
	fakeUpstream
	c *chainCluster
}

func (s *chainStream) RoundTrip(req *message.Request, r *message.Response, _ func(*message.Response)) error {
	v, _ := req.Headers.Joined("x-up")
	s.c.got = append(s.c.got, v)
	r.Status = s.c.statuses[0]
	if s.c.statuses = s.c.statuses[1:]; r.Status == 0 {
		return &upstream.Error{Kind: upstream.KindRemoteReset}
	}
	return nil
}

// mark adds its name to x-up on the way and to x-down on the way back.
type mark string

func (m mark) Handle(s *filter.Stream) (*message.Response, error) {
	s.Request.Headers.Add("x-up", string(m))
	resp, err := s.Next()
	if err == nil {
		resp.Headers.Add("x-down", string(m))
	}
	return resp, err
}

// refuse answers by itself.
type refuse struct{}

func (refuse) Handle(s *filter.Stream) (*message.Response, error) {
	return s.Reply(filter.Reply{Status: 403}), nil
}

func filters(list ...any) []*model.HTTPFilter {
	var out []*model.HTTPFilter
	for _, f := range list {
		name := "codec"
		if m, ok := f.(mark); ok {
			name = string(m)
		}
		out = append(out, &model.HTTPFilter{Name: name, Config: f})
	}
	return out
}

func TestUpstreamChain(t *testing.T) {
	end := upstreamcodec.Filter{}
	off := filters(mark("off"), mark("on"), end)
	off[0].Disabled = true
	retry := func(rt *filter.Route) {
		rt.Rules = retrying{policy: &model.RetryPolicy{On: model.Retry5xx, NumRetries: 1, BaseInterval: time.Millisecond, MaxInterval: time.Millisecond}}
	}
	for _, tc := range []struct {
		name            string
		router, cluster []*model.HTTPFilter
		route           func(*filter.Route)
		statuses        []int
		status          int
		got             string // x-up of the requests
		down            string
	}{
		{"none", nil, nil, nil, []int{200}, 200, "", ""},
		{"router", filters(mark("a"), mark("b"), end), nil, nil, []int{200}, 200, "a,b", "b,a"},
		{"cluster goes before router", filters(mark("a"), end), filters(mark("c"), end), nil, []int{200}, 200, "c", "c"},
		{"each attempt begins anew", filters(mark("a"), end), nil, retry, []int{503, 200}, 200, "a a", "a"},
		{"and after a reset", filters(mark("a"), end), nil, retry, []int{0, 200}, 200, "a a", "a"},
		{"disabled", off, nil, nil, []int{200}, 200, "on", "on"},
		{"enabled by the route", off, nil, func(rt *filter.Route) {
			rt.Route.PerFilter = map[string]*model.FilterOverride{"off": {}, "on": {Disabled: true}}
		}, []int{200}, 200, "off", "off"},
		{"a local reply", filters(refuse{}, end), nil, nil, nil, 403, "none", ""},
		{"a reset", filters(mark("a"), end), nil, nil, []int{0}, 503, "a", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store, wheel := stats.NewStore(), timer.New()
			t.Cleanup(wheel.Close)
			c := &chainCluster{fakeCluster: newFakeCluster(store), statuses: tc.statuses}
			c.cfg.Filters = tc.cluster
			f, err := (&Config{DynamicStats: true}).NewHTTP(filter.Deps{
				Stats: store.Root().Scope("http.test"), Wheel: wheel, Clusters: c, Upstream: tc.router,
			})
			if err != nil {
				t.Fatal(err)
			}
			rt := fakeRoute()
			if tc.route != nil {
				tc.route(&rt)
			}
			h := newFakeHost(rt)
			if got := h.serve(f.(*Filter)); got != tc.status {
				t.Errorf("status %d, want %d", got, tc.status)
			}
			if tc.got == "none" {
				tc.got = ""
				if len(c.got) > 0 {
					t.Error("the host was asked")
				}
			}
			if got := strings.Join(c.got, " "); got != tc.got {
				t.Errorf("the host got %q, want %q", got, tc.got)
			}
			if got, _ := h.resp.Headers.Joined("x-down"); got != tc.down {
				t.Errorf("the response has %q, want %q", got, tc.down)
			}
			if h.req.Headers.Len() > 0 {
				if _, ok := h.req.Lookup("x-up"); ok {
					t.Error("the downstream's request was changed")
				}
			}
		})
	}
}

type retrying struct {
	noRules
	policy *model.RetryPolicy
}

func (r retrying) Retry() *model.RetryPolicy { return r.policy }

// closing counts how often it is made and closed.
type closing struct{ made, closed int }

func (c *closing) NewHTTP(filter.Deps) (filter.HTTP, error) { c.made++; return (*closer)(c), nil }

type closer closing

func (c *closer) Handle(s *filter.Stream) (*message.Response, error) { return s.Next() }
func (c *closer) Close() error                                       { c.closed++; return nil }

func TestUpstreamChainLife(t *testing.T) {
	store, wheel := stats.NewStore(), timer.New()
	t.Cleanup(wheel.Close)
	one := &closing{}
	d := filter.Deps{Stats: store.Root().Scope("http.test"), Wheel: wheel, Upstream: filters(one, upstreamcodec.Filter{})}
	f, err := (&Config{}).NewHTTP(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.(*Filter).Close(); err != nil || one.made != 1 || one.closed != 1 {
		t.Errorf("made %d times, closed %d times, %v", one.made, one.closed, err)
	}
	d.Upstream = filters("no filter")
	if _, err := (&Config{}).NewHTTP(d); err == nil || !strings.Contains(err.Error(), "not an http filter") {
		t.Errorf("a configuration of another kind: %v", err)
	}
	if _, err := (upstreamcodec.Filter{}).Handle(&newFakeHost(fakeRoute()).Stream); !errors.Is(err, upstreamcodec.ErrNotUpstream) {
		t.Error("the codec works outside of an upstream chain")
	}
}
