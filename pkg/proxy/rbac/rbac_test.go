package rbac_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	"github.com/weir-proxy/weir/pkg/proxy/rbac"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func parse[M proto.Message](t testing.TB, text string, m M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return m
}

// client is what the cases ask about: 10.1.2.3, behind a proxy at 10.9.9.9, came to 192.0.2.1:443 for "a.example".
func client() *streaminfo.Info {
	spiffe, _ := url.Parse("spiffe://td/ns/a")
	return &streaminfo.Info{
		Conn: &streaminfo.Connection{
			Local: netip.MustParseAddrPort("192.0.2.1:443"), Remote: netip.MustParseAddrPort("10.1.2.3:999"),
			DirectRemote: netip.MustParseAddrPort("10.9.9.9:1"), ServerName: "a.example",
			TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{
				URIs: []*url.URL{spiffe}, DNSNames: []string{"client.example"}, Subject: pkix.Name{CommonName: "me"},
			}}},
		},
		Dynamic:     map[string]map[string]any{"f": {"k": "v"}},
		FilterState: map[string]any{"s": "state"},
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		rule  string
		wants bool
	}{
		{`{"any": true}`, true},
		{`{"destinationIp": {"addressPrefix": "192.0.2.0", "prefixLen": 24}}`, true},
		{`{"destinationIp": {"addressPrefix": "192.0.3.0", "prefixLen": 24}}`, false},
		{`{"destinationIp": {"addressPrefix": "::", "prefixLen": 0}}`, false},
		{`{"destinationIp": {"addressPrefix": "0.0.0.0"}}`, true},
		{`{"destinationPort": 443}`, true},
		{`{"destinationPort": 444}`, false},
		{`{"destinationPortRange": {"start": 400, "end": 443}}`, false},
		{`{"destinationPortRange": {"start": 443, "end": 444}}`, true},
		{`{"requestedServerName": {"exact": "a.example"}}`, true},
		{`{"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"stringMatch": {"exact": "v"}}}}`, true},
		{`{"metadata": {"filter": "f", "path": [{"key": "x"}], "value": {"stringMatch": {"exact": "v"}}, "invert": true}}`, true},
		{`{"sourcedMetadata": {"metadataMatcher": {"filter": "f", "path": [{"key": "k"}], "value": {"stringMatch": {"exact": "w"}}}}}`, false},
		{`{"notRule": {"any": true}}`, false},
		{`{"andRules": {"rules": [{"any": true}, {"destinationPort": 1}]}}`, false},
		{`{"orRules": {"rules": [{"destinationPort": 1}, {"any": true}]}}`, true},
		{`{"urlPath": {"path": {"prefix": "/"}}}`, false},
		{`{"sourceIp": {"addressPrefix": "10.1.0.0", "prefixLen": 16}}`, true},
		{`{"remoteIp": {"addressPrefix": "10.1.2.3", "prefixLen": 32}}`, true},
		{`{"directRemoteIp": {"addressPrefix": "10.1.0.0", "prefixLen": 16}}`, false},
		{`{"directRemoteIp": {"addressPrefix": "10.9.0.0", "prefixLen": 16}}`, true},
		{`{"authenticated": {}}`, true},
		{`{"authenticated": {"principalName": {"prefix": "spiffe://td/"}}}`, true},
		{`{"authenticated": {"principalName": {"exact": "client.example"}}}`, true},
		{`{"authenticated": {"principalName": {"exact": "CN=me"}}}`, true},
		{`{"authenticated": {"principalName": {"exact": "you"}}}`, false},
		{`{"filterState": {"key": "s", "stringMatch": {"exact": "state"}}}`, true},
		{`{"notId": {"andIds": {"ids": [{"any": true}, {"orIds": {"ids": [{"authenticated": {}}]}}]}}}`, false},
	} {
		t.Run(c.rule, func(t *testing.T) {
			policy := `{"permissions": [` + c.rule + `], "principals": [{"any": true}]}`
			if err := protojson.Unmarshal([]byte(c.rule), &rbacv3.Permission{}); err != nil {
				policy = `{"permissions": [{"any": true}], "principals": [` + c.rule + `]}`
			}
			rules, err := rbac.Rules(parse(t, `{"policies": {"p": `+policy+`}}`, &rbacv3.RBAC{}), "rules", false)
			if err != nil {
				t.Fatal(err)
			}
			got := rbac.New(rules).Evaluate(&matcher.Data{Info: client()})
			if got.Allowed != c.wants || (got.Policy == "p") != c.wants {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	rules, err := rbac.Rules(parse(t, `{"policies": {"p": {
		"permissions": [{"urlPath": {"path": {"exact": "/a"}}}], "principals": [{"header": {"name": "x-user", "stringMatch": {"exact": "me"}}}]
	}}}`, &rbacv3.RBAC{}), "rules", true)
	if err != nil {
		t.Fatal(err)
	}
	r := &message.Request{Path: "/a?b#c"}
	if got := rbac.New(rules).Evaluate(&matcher.Data{Info: client(), Request: r}); got.Allowed {
		t.Errorf("without the header: %+v", got)
	}
	r.Headers.Add("x-user", "me")
	if got := rbac.New(rules).Evaluate(&matcher.Data{Info: client(), Request: r}); !got.Allowed {
		t.Errorf("with the header: %+v", got)
	}
}

func TestActions(t *testing.T) {
	const b, a = `"b": {"permissions": [{"any": true}], "principals": [{"any": true}]}`, `"a": {"permissions": [{"destinationPort": 443}], "principals": [{"any": true}]}`
	for _, c := range []struct {
		name, action, policies string
		want                   rbac.Result
	}{
		{"allow, the first by name", "ALLOW", b + "," + a, rbac.Result{Allowed: true, Policy: "a"}},
		{"allow nothing", "ALLOW", "", rbac.Result{}},
		{"deny", "DENY", b, rbac.Result{Policy: "b"}},
		{"deny nothing", "DENY", "", rbac.Result{Allowed: true}},
		{"log", "LOG", a, rbac.Result{Allowed: true, Policy: "a", Logs: true, Logged: true}},
		{"log nothing", "LOG", "", rbac.Result{Allowed: true, Logs: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules, err := rbac.Rules(parse(t, `{"action": "`+c.action+`", "policies": {`+c.policies+`}}`, &rbacv3.RBAC{}), "rules", false)
			if err != nil {
				t.Fatal(err)
			}
			if got := rbac.New(rules).Evaluate(&matcher.Data{Info: client()}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	if got := (&rbac.Engine{}).Evaluate(&matcher.Data{Info: client()}); got.Allowed {
		t.Error("an engine of nothing allows")
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ policy, want string }{
		{`"permissions": [{"header": {"name": "x"}}]`, `rules.policies["p"].permissions[0].header: Found header(x) rule,not supported by RBAC network filter`},
		{`"permissions": [{"notRule": {"destinationIp": {"addressPrefix": "x"}}}]`, `rules.policies["p"].permissions[0].not_rule.destination_ip.address_prefix: malformed IP address "x"`},
		{`"permissions": [{"destinationIp": {"addressPrefix": "1.2.3.4", "prefixLen": 33}}]`, "prefix length 33 is too long for 1.2.3.4"},
		{`"permissions": [{"destinationPort": 65536}]`, "port 65536 is above 65535"},
		{`"permissions": [{"destinationPortRange": {"start": 2, "end": 2}}]`, "range start 2 cannot be greater or equal than range end 2"},
		{`"permissions": [{"destinationPortRange": {"start": -1, "end": 2}}]`, "range start -1 is out of bounds"},
		{`"permissions": [{"destinationPortRange": {"start": 1, "end": 70000}}]`, "range end 70000 is out of bounds"},
		{`"permissions": [{"uriTemplate": {"name": "x"}}]`, "uri_template is not supported by weir"},
		{`"permissions": [{"matcher": {"name": "x"}}]`, "matcher is not supported by weir"},
		{`"permissions": [{}]`, "one kind of rule must be set"},
		{`"principals": [{}]`, "one kind of identifier must be set"},
		{`"principals": [{"filterState": {"key": "k"}}]`, "one of string_match and address_match must be set"},
		{`"principals": [{"authenticated": {"principalName": {"safeRegex": {"regex": "("}}}}]`, "authenticated.principal_name: safe_regex"},
		{`"principals": [{"sourcedMetadata": {"metadataSource": "ROUTE", "metadataMatcher": {"filter": "f", "value": {"presentMatch": true}}}}]`, "ROUTE is not supported by weir"},
		{`"condition": {"constExpr": {"boolValue": true}}`, `rules.policies["p"].condition: not supported by weir`},
		{`"principals": [` + strings.Repeat(`{"notId": `, 40) + `{"any": true}` + strings.Repeat("}", 40) + `]`, "nested deeper than 32"},
	} {
		_, err := rbac.Rules(parse(t, `{"policies": {"p": {`+c.policy+`}}}`, &rbacv3.RBAC{}), "rules", false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", c.policy, err, c.want)
		}
	}
}

func TestTree(t *testing.T) {
	registry, err := extension.NewRegistry(matcher.Factories()...)
	if err != nil {
		t.Fatal(err)
	}
	const input = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput"
	action := func(name, what string) string {
		return `{"action": {"name": "a", "typedConfig": {"@type": "type.googleapis.com/envoy.config.rbac.v3.Action", "name": "` + name + `", "action": "` + what + `"}}}`
	}
	tree := func(port, what string) string {
		return `{"matcherTree": {"input": {"name": "i", "typedConfig": {"@type": "` + input + `"}}, "exactMatchMap": {"map": {"` + port + `": ` + action("it", what) + `}}}, "onNoMatch": ` + action("other", "DENY") + `}`
	}
	for _, c := range []struct {
		name, tree string
		want       rbac.Result
	}{
		{"empty", `{}`, rbac.Result{}},
		{"allowed", tree("443", "ALLOW"), rbac.Result{Allowed: true, Policy: "it"}},
		{"denied", tree("443", "DENY"), rbac.Result{Policy: "it"}},
		{"logged", tree("443", "LOG"), rbac.Result{Allowed: true, Policy: "it", Logs: true, Logged: true}},
		{"no match", tree("1", "LOG"), rbac.Result{Policy: "other", Logs: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := rbac.Tree(parse(t, c.tree, &xdsmatcherv3.Matcher{}), "matcher", registry, map[string]bool{input: true}, "cannot match")
			if err != nil {
				t.Fatal(err)
			}
			if got := rbac.NewTree(m).Evaluate(&matcher.Data{Info: client()}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	_, err = rbac.Tree(parse(t, tree("1", "LOG"), &xdsmatcherv3.Matcher{}), "matcher", registry, map[string]bool{}, "cannot match")
	if err == nil || !strings.Contains(err.Error(), "matcher.matcher_tree.input: cannot match '"+input+"'") {
		t.Errorf("an input that is not allowed: %v", err)
	}
}

func TestDenialDetails(t *testing.T) {
	for policy, want := range map[string]string{"": "rbac_access_denied_matched_policy[none]", "a b\tc": "rbac_access_denied_matched_policy[a_b_c]"} {
		if got := rbac.DenialDetails(policy); got != want {
			t.Errorf("%q: %s", policy, got)
		}
	}
}

func TestEvaluateDoesNotAllocate(t *testing.T) {
	rules, err := rbac.Rules(parse(t, `{"policies": {"p": {
		"permissions": [{"andRules": {"rules": [{"destinationIp": {"addressPrefix": "192.0.2.0", "prefixLen": 24}}, {"notRule": {"destinationPort": 1}}, {"requestedServerName": {"suffix": ".example"}}]}}],
		"principals": [{"directRemoteIp": {"addressPrefix": "1.0.0.0", "prefixLen": 8}}, {"authenticated": {"principalName": {"exact": "client.example"}}}, {"any": true}]
	}}}`, &rbacv3.RBAC{}), "rules", false)
	if err != nil {
		t.Fatal(err)
	}
	engine, d := rbac.New(rules), &matcher.Data{Info: client()}
	d.Info.Conn.TLS.PeerCertificates[0].URIs = nil // whose text is put together
	if n := testing.AllocsPerRun(100, func() {
		if !engine.Evaluate(d).Allowed {
			t.Fatal("denied")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRules(f *testing.F) {
	seed, err := proto.Marshal(parse(f, `{"policies": {"p": {"permissions": [{"notRule": {"destinationPortRange": {"start": 1, "end": 5}}}], "principals": [{"authenticated": {}}, {"remoteIp": {"addressPrefix": "::1"}}]}}}`, &rbacv3.RBAC{}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &rbacv3.RBAC{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		for _, http := range []bool{false, true} {
			rules, err := rbac.Rules(m, "rules", http)
			if err != nil {
				continue
			}
			d := &matcher.Data{Info: client()}
			if http {
				d.Request = &message.Request{Path: "/"}
			}
			rbac.New(rules).Evaluate(d)
		}
	})
}
