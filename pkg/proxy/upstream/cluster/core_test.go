package cluster

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestSameCore checks which changes of a cluster let its connections live on, and which need new ones.
func TestSameCore(t *testing.T) {
	base := func() *model.Cluster {
		c := static("web")
		c.TLS = &model.UpstreamTLS{Hash: 1}
		c.TransportSocketMatches = []model.TransportSocketMatch{{Name: "m", Match: map[string]any{"a": "b"}, TLS: &model.UpstreamTLS{Hash: 2}}}
		return c
	}
	for name, tc := range map[string]struct {
		change func(*model.Cluster)
		same   bool
	}{
		"nothing":                 {func(*model.Cluster) {}, true},
		"balancing":               {func(c *model.Cluster) { c.LB = model.LBMaglev }, true},
		"limits":                  {func(c *model.Cluster) { c.Breakers[0].MaxConnections, c.IdleTimeout = 3, time.Second }, true},
		"filters":                 {func(c *model.Cluster) { c.Filters = []*model.HTTPFilter{{Name: "x"}} }, true},
		"preconnecting":           {func(c *model.Cluster) { c.Preconnect.PerHost = 2 }, true},
		"name in statistics":      {func(c *model.Cluster) { c.AltStatName = "other" }, false},
		"context":                 {func(c *model.Cluster) { c.TLS.Hash = 3 }, false},
		"no context":              {func(c *model.Cluster) { c.TLS = nil }, false},
		"server name by request":  {func(c *model.Cluster) { c.TLS.AutoSNI = true }, false},
		"verification by request": {func(c *model.Cluster) { c.TransportSocketMatches[0].TLS.AutoSAN = true }, false},
		"match":                   {func(c *model.Cluster) { c.TransportSocketMatches[0].Match = map[string]any{"a": "c"} }, false},
		"protocol":                {func(c *model.Cluster) { c.HTTP.Protocol = model.UpstreamHTTP2 }, false},
		"options of HTTP/1":       {func(c *model.Cluster) { c.HTTP.HTTP1.EnableTrailers = true }, false},
		"options of HTTP/2":       {func(c *model.Cluster) { c.HTTP.HTTP2.MaxConcurrentStreams = 5 }, false},
		"source address":          {func(c *model.Cluster) { c.BindAddress = netip.MustParseAddrPort("127.0.0.2:0") }, false},
		"keep-alive":              {func(c *model.Cluster) { c.TCPKeepalive = &model.TCPKeepalive{Probes: 1} }, false},
		"order of addresses":      {func(c *model.Cluster) { c.HappyEyeballs.First = model.FirstV6 }, false},
		"type":                    {func(c *model.Cluster) { c.Type = model.ClusterEDS }, false},
	} {
		changed := base()
		tc.change(changed)
		if got := sameCore(base(), changed); got != tc.same {
			t.Errorf("%s: same is %v", name, got)
		}
	}
}
