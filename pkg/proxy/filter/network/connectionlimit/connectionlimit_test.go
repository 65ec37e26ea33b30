package connectionlimit

import (
	"io"
	"strings"
	"testing"
	"time"

	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

func decoded(t *testing.T, text string) (*Config, error) {
	t.Helper()
	m := &limitv3.ConnectionLimit{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	c, err := Factory().Decode(m)
	return c.(*Config), err
}

func made(t *testing.T, text string, runtime *model.Runtime) (filter.NonTerminal, *stats.Store) {
	t.Helper()
	c, err := decoded(t, text)
	if err != nil {
		t.Fatal(err)
	}
	store := stats.NewStore()
	f, err := c.NewNonTerminal(filter.NetworkDeps{Stats: store.Root(), Runtime: runtime})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.(io.Closer).Close() })
	return f, store
}

func TestLimit(t *testing.T) {
	f, store := made(t, `{"statPrefix": "l", "maxConnections": 2}`, nil)
	c := &filter.Connection{}
	check := func(active, limited uint64) {
		t.Helper()
		scope := store.Root().Scope("connection_limit.l")
		defer scope.Close()
		a, l := scope.Gauge("active_connections").Value(), scope.Counter("limited_connections").Value()
		if a != active || l != limited {
			t.Errorf("active %d, limited %d; want %d, %d", a, l, active, limited)
		}
	}
	var states []any
	for i, want := range []bool{true, true, false} {
		state, ok := f.Accept(t.Context(), c)
		if ok != want {
			t.Errorf("connection %d: %t", i, ok)
		}
		states = append(states, state)
	}
	check(3, 1)
	f.End(c, states[2])
	f.End(c, states[0])
	check(1, 1)
	if _, ok := f.Accept(t.Context(), c); !ok || !f.Begin(t.Context(), c, true) {
		t.Error("no room after one has ended")
	}
	check(2, 1)
}

func TestRuntimeSwitch(t *testing.T) {
	off := model.NewRuntime(map[string]model.RuntimeValue{"limit": {Text: "false", Is: model.RuntimeIsBool}})
	for _, c := range []struct {
		name, enabled string
		runtime       *model.Runtime
		limits        bool
	}{
		{"on by default", `{"runtimeKey": "limit"}`, nil, true},
		{"off by default", `{"runtimeKey": "limit", "defaultValue": false}`, nil, false},
		{"off by runtime", `{"runtimeKey": "limit", "defaultValue": true}`, off, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, _ := made(t, `{"statPrefix": "l", "maxConnections": 1, "runtimeEnabled": `+c.enabled+`}`, c.runtime)
			conn := &filter.Connection{}
			one, _ := f.Accept(t.Context(), conn)
			two, ok := f.Accept(t.Context(), conn)
			if ok == c.limits {
				t.Errorf("second connection: %t", ok)
			}
			f.End(conn, one)
			f.End(conn, two)
		})
	}
}

func TestDelay(t *testing.T) {
	f, _ := made(t, `{"statPrefix": "l", "maxConnections": 1, "delay": "0.05s"}`, nil)
	c := &filter.Connection{}
	f.Accept(t.Context(), c)
	begun := time.Now()
	if _, ok := f.Accept(t.Context(), c); ok || time.Since(begun) < 50*time.Millisecond {
		t.Errorf("%t after %v", ok, time.Since(begun))
	}
}

func TestBadConfig(t *testing.T) {
	_, err := decoded(t, `{"delay": "-1s"}`)
	for _, want := range []string{"stat_prefix: must not be empty", "max_connections: must be at least 1", "delay: must not be negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestAcceptDoesNotAllocate(t *testing.T) {
	f, _ := made(t, `{"statPrefix": "l", "maxConnections": 1000}`, nil)
	c := &filter.Connection{}
	if n := testing.AllocsPerRun(100, func() {
		state, _ := f.Accept(t.Context(), c)
		f.End(c, state)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
