package router_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func TestDescriptors(t *testing.T) {
	info := &streaminfo.Info{
		Conn: &streaminfo.Connection{Remote: netip.MustParseAddrPort("10.1.2.3:99")},
		Dynamic: map[string]map[string]any{
			"jwt":   {"sub": "me", "empty": ""},
			"limit": {"own": map[string]any{"requests_per_unit": 5.0, "unit": "hour"}, "bad": map[string]any{"requests_per_unit": 5.0, "unit": "week"}},
		},
	}
	sub := model.MetadataKey{Filter: "jwt", Path: []string{"sub"}}
	absent := model.MetadataKey{Filter: "jwt", Path: []string{"absent"}}
	get := []model.HeaderMatcher{{Name: ":method", String: is("GET")}}
	type action = model.RateLimitAction
	for name, tc := range map[string]struct {
		actions []action
		want    []filter.DescriptorEntry
	}{
		"clusters": {
			[]action{{Kind: model.RateLimitSourceCluster, Key: "source_cluster"}, {Kind: model.RateLimitDestinationCluster, Key: "destination_cluster"}},
			[]filter.DescriptorEntry{{Key: "source_cluster", Value: "me"}, {Key: "destination_cluster", Value: "*"}},
		},
		"header":                {[]action{{Kind: model.RateLimitRequestHeader, Key: "k", Source: "x-user"}}, []filter.DescriptorEntry{{Key: "k", Value: "joe"}}},
		"header absent":         {[]action{{Kind: model.RateLimitGenericKey, Key: "g", Value: "v"}, {Kind: model.RateLimitRequestHeader, Key: "k", Source: "x-none"}}, nil},
		"header absent, skip":   {[]action{{Kind: model.RateLimitGenericKey, Key: "g", Value: "v"}, {Kind: model.RateLimitRequestHeader, Key: "k", Source: "x-none", SkipIfAbsent: true}}, []filter.DescriptorEntry{{Key: "g", Value: "v"}}},
		"only skipped":          {[]action{{Kind: model.RateLimitRequestHeader, Key: "k", Source: "x-none", SkipIfAbsent: true}}, nil},
		"query":                 {[]action{{Kind: model.RateLimitQueryParameter, Key: "k", Source: "q"}}, []filter.DescriptorEntry{{Key: "k", Value: "1"}}},
		"address":               {[]action{{Kind: model.RateLimitRemoteAddress, Key: "remote_address"}}, []filter.DescriptorEntry{{Key: "remote_address", Value: "10.1.2.3"}}},
		"masked address":        {[]action{{Kind: model.RateLimitMaskedRemoteAddress, Key: "m", V4Bits: 16, V6Bits: 48}}, []filter.DescriptorEntry{{Key: "m", Value: "10.1.0.0/16"}}},
		"header match":          {[]action{{Kind: model.RateLimitHeaderMatch, Key: "k", Value: "v", Headers: get}}, []filter.DescriptorEntry{{Key: "k", Value: "v"}}},
		"header match unwanted": {[]action{{Kind: model.RateLimitHeaderMatch, Key: "k", Value: "v", Headers: get, Unexpected: true}}, nil},
		"query match":           {[]action{{Kind: model.RateLimitQueryMatch, Key: "k", Value: "v", Query: []model.QueryMatcher{{Name: "q", String: is("1")}}}}, []filter.DescriptorEntry{{Key: "k", Value: "v"}}},
		"metadata":              {[]action{{Kind: model.RateLimitDynamicMetadata, Key: "k", Metadata: sub}}, []filter.DescriptorEntry{{Key: "k", Value: "me"}}},
		"metadata default":      {[]action{{Kind: model.RateLimitDynamicMetadata, Key: "k", Metadata: absent, Value: "none"}}, []filter.DescriptorEntry{{Key: "k", Value: "none"}}},
		"metadata absent":       {[]action{{Kind: model.RateLimitDynamicMetadata, Key: "k", Metadata: absent}}, nil},
		"route metadata":        {[]action{{Kind: model.RateLimitRouteMetadata, Key: "k", Metadata: sub}}, []filter.DescriptorEntry{{Key: "k", Value: "of the route"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := hosts("*")
			c.VirtualHosts[0].Routes[0].Metadata = map[string]map[string]any{"jwt": {"sub": "of the route"}}
			c.VirtualHosts[0].Routes[0].Action.RateLimits = []model.RateLimit{{Stage: 3, DisableKey: "off", Actions: tc.actions, Limit: &model.MetadataKey{Filter: "limit", Path: []string{"own"}}}}
			got := descriptors(t, c, info, filter.RateLimitsOnlyRoute)
			var want []filter.Descriptor
			if tc.want != nil {
				want = []filter.Descriptor{{Stage: 3, DisableKey: "off", Entries: tc.want, Limit: &filter.DescriptorLimit{RequestsPerUnit: 5, Unit: "HOUR"}}}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func descriptors(t *testing.T, c *model.RouteConfig, info *streaminfo.Info, level filter.RateLimitLevel) []filter.Descriptor {
	t.Helper()
	table, err := router.Compile(c, router.Options{ServiceCluster: "me"})
	if err != nil {
		t.Fatal(err)
	}
	req := request("h", "/?q=1", "x-user: joe")
	rt := table.Match(req, info, 0)
	return rt.Rules.Descriptors(nil, &filter.Stream{Request: req, Info: info}, &rt, level)
}

func TestRateLimitLevels(t *testing.T) {
	limit := func(v string) []model.RateLimit {
		return []model.RateLimit{{Actions: []model.RateLimitAction{{Kind: model.RateLimitGenericKey, Key: "k", Value: v}}}}
	}
	for name, tc := range map[string]struct {
		route   []model.RateLimit
		include bool
		level   filter.RateLimitLevel
		want    []string
	}{
		"route instead of virtual host": {limit("route"), false, filter.RateLimitsOfRoute, []string{"route"}},
		"both":                          {limit("route"), true, filter.RateLimitsOfRoute, []string{"route", "vhost"}},
		"route without any":             {nil, false, filter.RateLimitsOfRoute, []string{"vhost"}},
		"only route":                    {nil, true, filter.RateLimitsOnlyRoute, nil},
		"only virtual host":             {limit("route"), false, filter.RateLimitsOnlyVirtualHost, []string{"vhost"}},
	} {
		c := hosts("*")
		c.VirtualHosts[0].RateLimits = limit("vhost")
		a := c.VirtualHosts[0].Routes[0].Action
		a.RateLimits, a.IncludeVHRateLimits = tc.route, tc.include
		var got []string
		for _, d := range descriptors(t, c, &streaminfo.Info{}, tc.level) {
			got = append(got, d.Entries[0].Value)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestVirtualClustersAndStatPrefix(t *testing.T) {
	store := stats.NewStore()
	c := hosts("*")
	c.VirtualHosts[0].Name = "v"
	c.VirtualHosts[0].Routes[0].StatPrefix = "all"
	c.VirtualHosts[0].VirtualClusters = []model.VirtualCluster{{Name: "writes", Headers: []model.HeaderMatcher{{Name: ":method", String: is("POST")}}}}
	table, err := router.Compile(c, router.Options{Stats: store.Root()})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"POST", "GET", "POST"} {
		req := request("h", "/")
		req.Method = method
		rt := table.Match(req, nil, 0)
		rt.Count(filter.RecordTotal)
		rt.CountResponse(503, 0)
	}
	got := map[string]uint64{}
	for _, s := range store.Counters() {
		if s.Used() {
			got[s.Name()] = s.Value()
		}
	}
	want := map[string]uint64{}
	for scope, n := range map[string]uint64{"vcluster.writes": 2, "vcluster.other": 1, "route.all": 3} {
		for _, name := range []string{"total", "completed", "5xx", "503"} {
			want["vhost.v."+scope+".upstream_rq_"+name] = n
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	table.Close()
	if left := store.Counters(); len(left) > 0 {
		t.Errorf("%d counters are left after Close", len(left))
	}
	plain := compile(t, hosts("*")).Match(request("h", "/"), nil, 0)
	plain.Count(filter.RecordRetry) // counts for nothing
}

func TestBufferLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		route, host *model.BufferLimit
		want        int
	}{
		"none":                  {nil, nil, 1000},
		"virtual host":          {nil, &model.BufferLimit{Bytes: 10}, 10},
		"route wins":            {&model.BufferLimit{Bytes: 20}, &model.BufferLimit{Bytes: 10}, 20},
		"up to the connection":  {&model.BufferLimit{Bytes: 5000}, nil, 1000},
		"beyond the connection": {nil, &model.BufferLimit{Bytes: 5000, BeyondConnection: true}, 5000},
		"zero":                  {&model.BufferLimit{}, nil, 0},
	} {
		c := hosts("*")
		if v := c.VirtualHosts[0]; tc.host != nil {
			v.BufferLimit, v.HasBufferLimit = *tc.host, true
		}
		if r := c.VirtualHosts[0].Routes[0]; tc.route != nil {
			r.BufferLimit, r.HasBufferLimit = *tc.route, true
		}
		rt := compile(t, c).Match(request("h", "/"), nil, 0)
		if got := rt.Rules.BufferLimit(1000); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
