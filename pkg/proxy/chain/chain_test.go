package chain

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func prefixList(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func named(name string, m model.FilterChainMatch) *model.FilterChain {
	return &model.FilterChain{Name: name, Match: m}
}

func input(dst, src string) Input {
	return Input{
		Destination: netip.MustParseAddrPort(dst), Source: netip.MustParseAddrPort(src), DirectSource: netip.MustParseAddrPort(src),
		TransportProtocol: "raw_buffer",
	}
}

func (in Input) tls(sni string, alpn ...string) Input {
	in.TransportProtocol, in.ServerName, in.ALPN = "tls", sni, alpn
	return in
}

func TestFind(t *testing.T) {
	type chains = []*model.FilterChain
	type match = model.FilterChainMatch
	plain := input("10.0.0.1:80", "192.0.2.1:4000")
	any := named("any", match{})
	cases := []struct {
		name   string
		chains chains
		in     Input
		want   string // "default" for the default chain
	}{
		{"empty match", chains{any}, plain, "any"},
		{"none", nil, plain, "default"},
		{"port", chains{any, named("80", match{DestinationPort: 80})}, plain, "80"},
		{"port without more falls to the default, not to the chain without port", chains{
			any, named("80 tls", match{DestinationPort: 80, TransportProtocol: "tls"}),
		}, plain, "default"},
		{"longest prefix", chains{
			any, named("8", match{PrefixRanges: prefixList("10.0.0.0/8")}), named("24", match{PrefixRanges: prefixList("10.0.0.0/24")}),
		}, plain, "24"},
		{"no way back to a shorter prefix", chains{
			named("8", match{PrefixRanges: prefixList("10.0.0.0/8")}),
			named("24", match{PrefixRanges: prefixList("10.0.0.0/24"), ServerNames: []string{"a.test"}}),
		}, plain, "default"},
		{"port goes before prefix", chains{
			named("32", match{PrefixRanges: prefixList("10.0.0.1/32")}), named("80", match{DestinationPort: 80}),
		}, plain, "80"},
		{"other family", chains{named("v6", match{PrefixRanges: prefixList("::/0")})}, plain, "default"},
		{"ipv6", chains{any, named("v6", match{PrefixRanges: prefixList("fd00::/8")})}, input("[fd00::1]:80", "[fd00::2]:1"), "v6"},
		{"mapped prefix", chains{named("m", match{PrefixRanges: prefixList("::ffff:10.0.0.0/104")})}, plain, "m"},
		{"exact name", chains{
			any, named("w", match{ServerNames: []string{"*.a.test"}}), named("x", match{ServerNames: []string{"x.a.test"}}),
		}, plain.tls("x.a.test"), "x"},
		{"longest wildcard", chains{
			named("short", match{ServerNames: []string{"*.test"}}), named("long", match{ServerNames: []string{"*.a.test"}}),
		}, plain.tls("q.x.a.test"), "long"},
		{"wildcard does not match its own domain", chains{
			named("long", match{ServerNames: []string{"*.a.test"}}), any,
		}, plain.tls("a.test"), "any"},
		{"no way back from a name", chains{
			named("x h2", match{ServerNames: []string{"x.test"}, ApplicationProtocols: []string{"h2"}}), any,
		}, plain.tls("x.test", "http/1.1"), "default"},
		{"no name given", chains{named("w", match{ServerNames: []string{"*.test"}}), any}, plain.tls(""), "any"},
		{"transport", chains{named("tls", match{TransportProtocol: "tls"}), named("raw", match{TransportProtocol: "raw_buffer"})}, plain, "raw"},
		{"alpn in the client's order", chains{
			named("h1", match{ApplicationProtocols: []string{"http/1.1"}}), named("h2", match{ApplicationProtocols: []string{"h2"}}),
		}, plain.tls("", "http/1.1", "h2"), "h1"},
		{"alpn unknown", chains{any, named("h2", match{ApplicationProtocols: []string{"h2"}})}, plain.tls("", "h3"), "any"},
		{"direct source", chains{any, named("lan", match{DirectSourcePrefixes: prefixList("192.0.2.0/24")})}, plain, "lan"},
		{"source type external", chains{
			any, named("ext", match{SourceType: model.SourceExternal}), named("loc", match{SourceType: model.SourceSameIPOrLoopback}),
		}, plain, "ext"},
		{"source type same address", chains{any, named("loc", match{SourceType: model.SourceSameIPOrLoopback})}, input("10.0.0.1:80", "10.0.0.1:9"), "loc"},
		{"source type loopback", chains{any, named("loc", match{SourceType: model.SourceSameIPOrLoopback})}, input("10.0.0.1:80", "127.0.0.1:9"), "loc"},
		{"no way back from a source type", chains{any, named("ext", match{SourceType: model.SourceExternal, SourcePorts: []uint32{1}})}, plain, "default"},
		{"source prefix and port", chains{
			any, named("net", match{SourcePrefixes: prefixList("192.0.2.0/24")}),
			named("port", match{SourcePrefixes: prefixList("192.0.2.0/24"), SourcePorts: []uint32{4000}}),
		}, plain, "port"},
		{"unix socket", chains{named("net", match{PrefixRanges: prefixList("10.0.0.0/8")}), any}, Input{TransportProtocol: "raw_buffer"}, "any"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			table, err := Compile(tc.chains, named("default", match{}))
			if err != nil {
				t.Fatal(err)
			}
			if got := table.Find(&tc.in); got.Name != tc.want {
				t.Errorf("chain %q, want %q", got.Name, tc.want)
			}
			if n := testing.AllocsPerRun(20, func() { table.Find(&tc.in) }); n != 0 {
				t.Errorf("Find allocates %v times", n)
			}
		})
	}
	if table, _ := Compile(nil, nil); table.Find(&plain) != nil {
		t.Error("a chain out of nothing")
	}
}

func TestDuplicates(t *testing.T) {
	cases := []struct {
		name string
		a, b model.FilterChainMatch
		dup  bool
	}{
		{"both empty", model.FilterChainMatch{}, model.FilterChainMatch{}, true},
		{"overlap in one name", model.FilterChainMatch{ServerNames: []string{"a.test", "b.test"}}, model.FilterChainMatch{ServerNames: []string{"c.test", "b.test"}}, true},
		{"prefixes equal once masked", model.FilterChainMatch{PrefixRanges: prefixList("10.0.0.1/8")}, model.FilterChainMatch{PrefixRanges: prefixList("10.9.9.9/8")}, true},
		{"no prefix is 0.0.0.0/0", model.FilterChainMatch{}, model.FilterChainMatch{PrefixRanges: prefixList("0.0.0.0/0")}, true},
		{"other port", model.FilterChainMatch{DestinationPort: 1}, model.FilterChainMatch{DestinationPort: 2}, false},
		{"wildcard beside its domain", model.FilterChainMatch{ServerNames: []string{"*.a.test"}}, model.FilterChainMatch{ServerNames: []string{"a.test"}}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Compile([]*model.FilterChain{named("one", tc.a), named("", tc.b)}, nil)
			if (err != nil) != tc.dup {
				t.Fatalf("got %v", err)
			}
			if err != nil && !(strings.Contains(err.Error(), `"one"`) && strings.Contains(err.Error(), "filter_chains[1]")) {
				t.Errorf("%v does not name both chains", err)
			}
		})
	}
	same := named("repeats itself", model.FilterChainMatch{SourcePorts: []uint32{5, 5}})
	if _, err := Compile([]*model.FilterChain{same}, nil); err != nil {
		t.Errorf("a criterion listed twice: %v", err)
	}
}

// FuzzFind compares with a reference that narrows a flat list of entries level by level.
func FuzzFind(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		var chains []*model.FilterChain
		for range 1 + r.IntN(12) {
			c := randomChain(r)
			if _, err := Compile(append(chains, c), nil); err == nil {
				chains = append(chains, c)
			}
		}
		fallback := named("default", model.FilterChainMatch{})
		table, err := Compile(chains, fallback)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			in := randomInput(r)
			if got, want := table.Find(&in), reference(chains, fallback, &in); got != want {
				t.Fatalf("%+v: chain %+v, want %+v", in, got.Match, want.Match)
			}
		}
	})
}
