package rbac

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func decoded(t *testing.T, text string) (*Config, error) {
	t.Helper()
	m := &rbacv3.RBAC{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	c, err := Factory().Decode(m)
	return c.(*Config), err
}

func made(t *testing.T, text string) (*Filter, *stats.Store) {
	t.Helper()
	c, err := decoded(t, text)
	if err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore()
	f, err := c.NewNonTerminal(filter.NetworkDeps{Stats: store.Root()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.(io.Closer).Close() })
	return f.(*Filter), store
}

func connection(c net.Conn) *filter.Connection {
	return &filter.Connection{Conn: c, Info: &streaminfo.Connection{
		Local: netip.MustParseAddrPort("192.0.2.1:443"), Remote: netip.MustParseAddrPort("10.1.2.3:999"), DirectRemote: netip.MustParseAddrPort("10.1.2.3:999"),
	}}
}

// counter is the value of a counter, which differs from all others when there is none.
func counter(store *stats.Store, name string) uint64 {
	for _, c := range store.Counters() {
		if c.Name() == name {
			return c.Value()
		}
	}
	return 1 << 60
}

const (
	anyone = `{"permissions": [{"any": true}], "principals": [{"any": true}]}`
	noOne  = `{"permissions": [{"destinationPort": 1}], "principals": [{"any": true}]}`
)

func TestVerdicts(t *testing.T) {
	type numbers map[string]uint64
	for _, c := range []struct {
		name, config, details string
		allowed               bool
		stats                 numbers
		metadata              map[string]map[string]any
	}{
		{name: "nothing to evaluate", config: `{"statPrefix": "tcp."}`, allowed: true, stats: numbers{"tcp.rbac.allowed": 0}},
		{
			name: "allowed", config: `{"statPrefix": "tcp.", "rules": {"policies": {"a b": ` + anyone + `}}}`,
			allowed: true, stats: numbers{"tcp.rbac.allowed": 1, "tcp.rbac.denied": 0},
		},
		{
			name: "denied", config: `{"statPrefix": "tcp", "rules": {"action": "DENY", "policies": {"a b": ` + anyone + `}}}`,
			details: "rbac_access_denied_matched_policy[a_b]", stats: numbers{"tcp.rbac.allowed": 0, "tcp.rbac.denied": 1},
		},
		{
			name: "denied since nothing matched", config: `{"statPrefix": "tcp", "rules": {"policies": {"p": ` + noOne + `}}}`,
			details: "rbac_access_denied_matched_policy[none]", stats: numbers{"tcp.rbac.denied": 1},
		},
		{
			name: "shadow rules", config: `{"statPrefix": "tcp", "shadowRulesStatPrefix": "dry.", "shadowRules": {"action": "DENY", "policies": {"p": ` + anyone + `}}}`,
			allowed: true, stats: numbers{"tcp.rbac.allowed": 0, "tcp.rbac.dry.shadow_allowed": 0, "tcp.rbac.dry.shadow_denied": 1},
			metadata: map[string]map[string]any{"envoy.filters.network.rbac": {"dry.shadow_effective_policy_id": "p", "dry.shadow_engine_result": "denied"}},
		},
		{
			name: "a later rule sees what shadow rules left",
			config: `{"statPrefix": "tcp", "shadowRules": {"policies": {}}, "rules": {"action": "DENY", "policies": {"p": {"permissions": [{"metadata": {
				"filter": "envoy.filters.network.rbac", "path": [{"key": "shadow_engine_result"}], "value": {"stringMatch": {"exact": "denied"}}}}], "principals": [{"any": true}]}}}}`,
			details: "rbac_access_denied_matched_policy[p]", stats: numbers{"tcp.rbac.shadow_denied": 1, "tcp.rbac.denied": 1},
			metadata: map[string]map[string]any{"envoy.filters.network.rbac": {"shadow_engine_result": "denied"}},
		},
		{
			name: "log", config: `{"statPrefix": "tcp", "rules": {"action": "LOG", "policies": {"p": ` + anyone + `}}}`,
			allowed: true, stats: numbers{"tcp.rbac.allowed": 1, "tcp.rbac.logged": 1, "tcp.rbac.not_logged": 0},
			metadata: map[string]map[string]any{"envoy.common": {"access_log_hint": true}},
		},
		{
			name: "matcher before rules", config: `{"statPrefix": "tcp", "rules": {"policies": {"p": ` + anyone + `}}, "matcher": {}}`,
			details: "rbac_access_denied_matched_policy[none]", stats: numbers{"tcp.rbac.denied": 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, store := made(t, c.config)
			conn := connection(nil)
			state, ok := f.Accept(t.Context(), conn)
			if !ok {
				t.Fatal("not accepted")
			}
			if got := f.Begin(t.Context(), conn, state); got != c.allowed {
				t.Errorf("allowed: %t", got)
			}
			f.End(conn, state)
			for name, want := range c.stats {
				if v := counter(store, name); v != want {
					t.Errorf("%s = %d, want %d", name, v, want)
				}
			}
			if conn.Info.TerminationDetails != c.details {
				t.Errorf("details %q", conn.Info.TerminationDetails)
			}
			if diff := cmp.Diff(c.metadata, conn.Info.Dynamic); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A connection that is denied with a delay stays open, unread, for that time.
func TestDelayDeny(t *testing.T) {
	f, _ := made(t, `{"statPrefix": "tcp", "delayDeny": "0.05s", "rules": {}}`)
	begun := time.Now()
	if f.Begin(t.Context(), connection(nil), nil) {
		t.Error("allowed")
	}
	if d := time.Since(begun); d < 50*time.Millisecond {
		t.Errorf("closed after %v", d)
	}
}

func TestContinuous(t *testing.T) {
	f, store := made(t, `{"statPrefix": "tcp", "enforcementType": "CONTINUOUS", "rules": {"action": "DENY", "policies": {"p": {"permissions": [{"metadata": {
		"filter": "other", "path": [{"key": "stop"}], "value": {"boolMatch": true}}}], "principals": [{"any": true}]}}}}`)
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	c := connection(near)
	if !f.Begin(t.Context(), c, nil) {
		t.Fatal("denied")
	}
	written := make(chan error, 3)
	go func() {
		for range 3 {
			_, err := io.WriteString(far, "x")
			written <- err
		}
	}()
	buf := make([]byte, 1)
	for range 2 {
		if _, err := c.Conn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	c.Info.SetDynamic("other", map[string]any{"stop": true})
	if n, err := c.Conn.Read(buf); n != 0 || !errors.Is(err, errDenied) {
		t.Errorf("read %d, %v", n, err)
	}
	for range 3 {
		<-written
	}
	if _, err := far.Read(buf); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
	if allowed, denied := counter(store, "tcp.rbac.allowed"), counter(store, "tcp.rbac.denied"); allowed != 2 || denied != 1 {
		t.Errorf("allowed %d, denied %d", allowed, denied)
	}
}

func TestBadConfig(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "stat_prefix: must not be empty",
		`{"statPrefix": "a", "delayDeny": "-1s"}`:                                                             "delay_deny: must not be negative",
		`{"statPrefix": "a", "rules": {"policies": {"p": {"permissions": [{}]}}}}`:                            `rules.policies["p"].permissions[0]: one kind of rule must be set`,
		`{"statPrefix": "a", "shadowRules": {"policies": {"p": {"principals": [{}]}}}}`:                       `shadow_rules.policies["p"].principals[0]: one kind of identifier must be set`,
		`{"statPrefix": "a", "matcher": {"onNoMatch": {"action": {"name": "x"}}}}`:                            "matcher.on_no_match.action: read action x",
		`{"statPrefix": "a", "shadowMatcher": {"matcherList": {"matchers": [{"onMatch": {"matcher": {}}}]}}}`: "shadow_matcher.matcher_list",
	} {
		if _, err := decoded(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}
