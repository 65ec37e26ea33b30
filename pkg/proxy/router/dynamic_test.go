package router_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/router"
)

// TestVHDSHosts compares a table of which some virtual hosts come from VHDS with one that has all of them.
func TestVHDSHosts(t *testing.T) {
	domains := []string{"a.com", "*.a.com", "*-x.a.com", "*.b.a.com", "www.*", "www.a.*", "*", "x.b.a.com", "*.com", "w*"}
	authorities := []string{
		"a.com", "A.com", "q.a.com", "q-x.a.com", "Q.b.a.com", "x.b.a.com", "www.z", "www.a.z", "www.a.com", "other", "a.com:80", "w", "ww", ".com",
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		all, own := &model.RouteConfig{}, &model.RouteConfig{}
		all.IgnorePortInHost = random.IntN(2) == 0
		own.IgnorePortInHost = all.IgnorePortInHost
		var set *model.HostSet
		for _, v := range hosts(domains...).VirtualHosts {
			switch random.IntN(3) {
			case 0:
				own.VirtualHosts = append(own.VirtualHosts, v)
			case 1:
				set = set.With(v)
			default:
				continue
			}
			all.VirtualHosts = append(all.VirtualHosts, v)
		}
		table, err := router.Compile(own, router.Options{Hosts: func() *model.HostSet { return set }})
		if err != nil {
			t.Fatal(err)
		}
		reference := compile(t, all)
		for _, a := range authorities {
			want, got := reference.Match(request(a, "/"), nil, 0), table.Match(request(a, "/"), nil, 0)
			if want.VirtualHost != got.VirtualHost || want.Route != got.Route || want.Cluster != got.Cluster {
				t.Fatalf("%s: got %+v, want %+v", a, got.VirtualHost, want.VirtualHost)
			}
		}
		table.Close()
		reference.Close()
	}
}

func TestVHDSHostsChange(t *testing.T) {
	var set *model.HostSet
	table, err := router.Compile(&model.RouteConfig{}, router.Options{Hosts: func() *model.HostSet { return set }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	for i := range 500 {
		if r := table.Match(request("a.com", "/"), nil, 0); r.VirtualHost != nil {
			t.Fatal("a virtual host that is gone is found")
		}
		v := hosts("a.com").VirtualHosts[0]
		v.Routes[0].Action.Cluster = fmt.Sprint(i)
		set = set.With(v)
		if r := table.Match(request("a.com", "/"), nil, 0); r.Cluster != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", r.Cluster, i)
		}
		set = set.Without(v)
	}
	set = set.With(hosts("b.com").VirtualHosts[0])
	r := request("b.com", "/")
	if n := testing.AllocsPerRun(100, func() { table.Match(r, nil, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
