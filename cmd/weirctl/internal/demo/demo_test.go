package demo

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/agent"
	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/controlplane"
)

func TestAnswers(t *testing.T) {
	tests := []struct {
		name, out string
		want      []answer
	}{
		{"none", "", nil},
		{"one", "v1: 7\n\x01200 10.99.0.1 80\n", []answer{{200, "10.99.0.1:80", "v1: 7"}}},
		{"several", "v1: 7\n\x01200 fd00::1 80\nv2: 7\n\x01503 fd00::1 80\n", []answer{{200, "[fd00::1]:80", "v1: 7"}, {503, "[fd00::1]:80", "v2: 7"}}},
		{"no connection", "\x01000  0\n", []answer{{0, ":0", ""}}},
		{"cut short", "v1: 7\n\x01200", []answer{{0, "", "v1: 7"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, answers(tt.out), cmp.AllowUnexported(answer{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTally(t *testing.T) {
	tests := []struct {
		name string
		in   []curled
		want tally
	}{
		{
			"versions",
			[]curled{{out: "a: 7\n\x01200 ::1 80\nb: 7\n\x01200 ::1 80\n"}, {out: "a: 7\n\x01200 ::1 80\n"}},
			tally{by: map[string]int{"a": 2, "b": 1}, total: 3},
		},
		{
			"status",
			[]curled{{out: "no healthy upstream\x01503 ::1 80\n"}},
			tally{failed: 1, total: 1, why: `status 503, body "no healthy upstream"`},
		},
		{"not from a backend", []curled{{out: "hello\x01200 ::1 80\n"}}, tally{failed: 1, total: 1, why: `status 200, body "hello"`}},
		{
			"no connection",
			[]curled{{out: "\x01000  0\n", err: "curl: (7) no\nmore", status: 7}},
			tally{failed: 1, total: 1, why: "curl ended with status 7: curl: (7) no"},
		},
		{"silent failure", []curled{{status: 2}}, tally{failed: 1, total: 1, why: "curl ended with status 2: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got tally
			for _, c := range tt.in {
				got.add(c)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(tally{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSpanIsFourDeviations(t *testing.T) {
	// n = 300, p = 0.1: mean 30, deviation 5.196.
	if low, high := span(300, 10); low != 10 || high != 50 {
		t.Errorf("got %d to %d", low, high)
	}
	if low, _ := span(10, 10); low != 0 {
		t.Errorf("low is %d", low)
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	r.step("First")
	r.say("one\n\ntwo %d", 2)
	r.command("curl")
	r.check(true, "good")
	if r.failed() {
		t.Error("it failed before anything was wrong")
	}
	r.step("Second")
	r.check(true, "good")
	r.check(false, "bad")
	r.step("Summary")
	r.verdicts()
	want := "\n1. First\n   one\n\n   two 2\n   $ curl\n   OK   good\n\n2. Second\n   OK   good\n   FAIL bad\n\n3. Summary\n" +
		"   OK   1. First (1 of 1 checks)\n   FAIL 2. Second (1 of 2 checks)\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if !r.failed() {
		t.Error("a check that does not hold is no failure")
	}
}

// TestConfigurations holds the embedded files to what a control plane and weir take.
func TestConfigurations(t *testing.T) {
	dir := t.TempDir()
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{"IPv4": ipv4, "IPv6": ipv6, "CA": ca.pem, "Versions": versions(), "AccessLog": "/tmp/a b"}
	if err := write(filepath.Join(dir, "shop.yaml"), "shop.yaml", values); err != nil {
		t.Fatal(err)
	}
	p := &plane{dir: dir, server: controlplane.New(controlplane.Options{Log: slog.New(slog.DiscardHandler)})}
	if err := p.route([]weight{{"inventory-v1", 90, 100}, {"inventory-v2", 10, 0}}); err != nil {
		t.Fatal(err)
	}
	before := p.version("RouteConfiguration")
	if err := p.route([]weight{{"inventory-v1", 0, 0}, {"inventory-v2", 100, 100}}); err != nil {
		t.Fatal(err)
	}
	if after := p.version("RouteConfiguration"); before == "" || after == before {
		t.Errorf("versions of the routes: %q, then %q", before, after)
	}
	var got []string
	for _, s := range p.server.Summary() {
		got = append(got, fmt.Sprint(s.Type, s.Names))
	}
	want := []string{"Cluster[inventory-v1 inventory-v2]", "ClusterLoadAssignment[inventory-v1 inventory-v2]", "Listener[inventory]", "RouteConfiguration[inventory]", "Secret[shop-ca]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	file := filepath.Join(dir, "bootstrap.yaml")
	if err := write(file, "bootstrap.yaml", map[string]any{"AdminPort": 1, "PlanePort": 2, "Cgroup": "/weir.demo.1"}); err != nil {
		t.Fatal(err)
	}
	c, err := agent.Configure(&options.Options{ConfigPath: file})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("weir has something to say about the bootstrap: %q", c.Warnings)
	}
}

func TestBackend(t *testing.T) {
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	v := version{"inventory-v9", "v9.inventory.internal", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 9, 1}), uint16(20000+os.Getpid()%10000))}
	b, err := newBackend(v, ca, 9)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.close() }) // closed below; then this does nothing
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.pem))
	client := func(name string) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: patience}
	}
	get := func(path string) (http.Header, string) {
		t.Helper()
		resp, err := client(v.Name).Get("https://" + v.Addr.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header, string(body)
	}
	header, body := get("/stock/teapot")
	if header.Get("X-Served-By") != v.Cluster || !strings.HasPrefix(body, v.Cluster+": ") {
		t.Errorf("got %q from %q", body, header.Get("X-Served-By"))
	}
	_, body = get("/catalogue")
	if sum := sha256.Sum256([]byte(body)); hex.EncodeToString(sum[:]) != b.sum() || len(body) != catalogueSize {
		t.Errorf("the catalogue has %d bytes, or others than it should have", len(body))
	}
	if resp, err := client("v1.inventory.internal").Get("https://" + v.Addr.String()); err == nil {
		resp.Body.Close()
		t.Error("the certificate holds for another version's name too")
	}
	if n, strangers := b.requests.Load(), b.strangers.Load(); n != 2 || strangers != 0 {
		t.Errorf("it counted %d requests, %d of strangers", n, strangers)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
}
