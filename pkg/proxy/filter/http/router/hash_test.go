package httprouter

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// What is combined must be Envoy's number: a fleet of both has to choose the same hosts.
func TestHash(t *testing.T) {
	sum := xxhash.Sum64String
	then := func(old, next uint64) uint64 { return (old<<1 | old>>63) ^ next }
	for _, tc := range []struct {
		name     string
		policies []model.HashPolicy
		want     uint64
		ok       bool
	}{
		{name: "none"},
		{name: "header", policies: []model.HashPolicy{{Header: "x-user"}}, want: sum("anna"), ok: true},
		{name: "no such header", policies: []model.HashPolicy{{Header: "x-none"}}},
		{name: "path", policies: []model.HashPolicy{{Header: ":path"}}, want: sum("/a?k=v&q=1"), ok: true},
		{name: "repeated header", policies: []model.HashPolicy{{Header: "x-many"}}, want: sum("ab"), ok: true},
		{name: "cookie", policies: []model.HashPolicy{{Cookie: "id", CookieTTL: -1}}, want: sum("v 1"), ok: true},
		{name: "no such cookie", policies: []model.HashPolicy{{Cookie: "none", CookieTTL: -1}}},
		{name: "source", policies: []model.HashPolicy{{SourceIP: true}}, want: sum("192.0.2.1"), ok: true},
		{name: "query", policies: []model.HashPolicy{{QueryParameter: "k"}}, want: sum("v"), ok: true},
		{name: "state", policies: []model.HashPolicy{{FilterState: "key"}}, want: sum("object"), ok: true},
		{name: "no such state", policies: []model.HashPolicy{{FilterState: "none"}}},
		{name: "two", policies: []model.HashPolicy{{Header: "x-user"}, {QueryParameter: "k"}}, want: then(sum("anna"), sum("v")), ok: true},
		{name: "the same twice does not cancel out", policies: []model.HashPolicy{{Header: "x-user"}, {Header: "x-user"}}, want: then(sum("anna"), sum("anna")), ok: true},
		{name: "terminal", policies: []model.HashPolicy{{Header: "x-user", Terminal: true}, {QueryParameter: "k"}}, want: sum("anna"), ok: true},
		{name: "terminal that found nothing", policies: []model.HashPolicy{{Header: "x-none", Terminal: true}, {QueryParameter: "k"}}, want: sum("v"), ok: true},
	} {
		req := &message.Request{Method: "GET", Path: "/a?k=v&q=1"}
		for _, h := range [][2]string{{"x-user", "anna"}, {"X-Many", "b"}, {"x-many", "a"}, {"cookie", `a=b; id="v 1"; id=later`}} {
			req.Headers.Add(h[0], h[1])
		}
		x := &exchange{s: &filter.Stream{Request: req, Info: &streaminfo.Info{
			Conn:        &streaminfo.Connection{Remote: netip.MustParseAddrPort("192.0.2.1:5"), Local: netip.MustParseAddrPort("192.0.2.2:80")},
			FilterState: map[string]any{"key": "object"},
		}}}
		if got, ok := x.hash(tc.policies); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %x, %v; want %x, %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestSetCookie(t *testing.T) {
	for want, p := range map[string]*model.HashPolicy{
		`a="v"; HttpOnly`: {Cookie: "a"},
		`a="v"; Max-Age=90; Path=/p; Secure; SameSite=Lax; HttpOnly`: {
			Cookie: "a", CookieTTL: 90 * time.Second, CookiePath: "/p", CookieAttributes: []model.CookieAttribute{{Name: "Secure"}, {Name: "SameSite", Value: "Lax"}},
		},
	} {
		if got := setCookie(p, "v"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
