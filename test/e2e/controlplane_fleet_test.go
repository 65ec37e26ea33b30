package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// fleet is weirctl xds serve on one host and a weir in a group of its own on each of two others.
type fleet struct {
	t           *testing.T
	hub         *harness.Host
	dir         string
	tls         []string
	server      *harness.Process
	web, batch  *harness.Host
	clientTrust string
}

const fleetPage = "http://127.0.0.1:8080/"

func startFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, hub: harness.NewHost(t), web: harness.NewHost(t), batch: harness.NewHost(t), dir: filepath.Join(harness.Dir(t), "resources")}
	harness.Link(f.hub, f.web, "192.0.2.0/30")
	harness.Link(f.hub, f.batch, "192.0.2.4/30")
	ca := harness.NewCA(t)
	cert := ca.Issue("xds.test")
	f.clientTrust = ca.Trust() + ", tls_certificates: [" + ca.Issue("spiffe://fleet/weir").YAML() + "]"
	files := harness.Dir(t)
	for name, text := range map[string]string{"cert.pem": cert.Chain, "key.pem": cert.Key, "ca.pem": ca.PEM} {
		harness.WriteFile(t, filepath.Join(files, name), text)
	}
	f.tls = []string{"--tls-cert", filepath.Join(files, "cert.pem"), "--tls-key", filepath.Join(files, "key.pem"), "--client-ca", filepath.Join(files, "ca.pem")}

	hcm := harness.HTTPManager("rds: {route_config_name: main, config_source: {resource_api_version: V3, ads: {}}}")
	f.write("_shared/listener.yaml", resource("config.listener.v3.Listener", harness.Listener{Name: "page", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(hcm)}}.YAML()))
	f.page("web", "web one")
	f.page("batch", "batch one")
	f.serve()
	f.weir(f.web, "web", "DELTA_GRPC", "192.0.2.1:18000")
	f.weir(f.batch, "batch", "GRPC", "192.0.2.5:18000")
	return f
}

// resource is a resource in flow style with its type.
func resource(kind, yaml string) string {
	return fmt.Sprintf(`{"@type": type.googleapis.com/envoy.%s, %s`, kind, strings.TrimPrefix(yaml, "{"))
}

// write puts a file in place in one step.
func (f *fleet) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	harness.WriteFile(f.t, path+".tmp", text)
	if err := os.Rename(path+".tmp", path); err != nil {
		f.t.Fatal(err)
	}
}

// page lets a group answer with a text.
func (f *fleet) page(group, text string) {
	f.t.Helper()
	f.write(group+"/route.yaml", resource("config.route.v3.RouteConfiguration",
		harness.RouteConfig("main", fmt.Sprintf(`{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: %q}}}`, text))))
}

func (f *fleet) serve() {
	f.server = f.hub.App().Start(append([]string{
		harness.Binary("weirctl"), "xds", "serve", "--listen", ":18000", "--status-listen", "127.0.0.1:18001", "--group-by", "cluster", f.dir,
	}, f.tls...)...)
	harness.EventuallyNil(f.t, "the control plane is up", func() error {
		_, err := f.status()
		return err
	})
}

func (f *fleet) weir(host *harness.Host, group, kind, server string) {
	host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(server)), harness.HTTP2(), harness.UpstreamTLS(f.clientTrust, "sni: xds.test"))},
			More:     harness.ADS(kind),
		}.YAML(),
		Flags: []string{"--service-cluster", group, "--service-node", "weir-" + group},
	})
}

// fleetStatus is what the tests read of the status page's JSON.
type fleetStatus struct {
	Rejecting int
	Load      struct{ Errors []string }
	Clients   []struct {
		Node, Group, Identity string
		Streams               []struct {
			Delta bool
			Types []struct{ Type, Sent, Acked, Error string }
		}
	}
}

func (f *fleet) status() (s fleetStatus, err error) {
	got := f.hub.App().Curl("-f", "http://127.0.0.1:18001/status.json")
	if got.Status != 0 {
		return s, errors.New(got.Err)
	}
	return s, json.Unmarshal([]byte(got.Out), &s)
}

// shows waits until a host's page says text.
func (f *fleet) shows(host *harness.Host, text string) {
	f.t.Helper()
	harness.EventuallyNil(f.t, "the page", func() error {
		if got := host.App().Curl(fleetPage); got.Out != text {
			return fmt.Errorf("got %q, want %q", got.Out, text)
		}
		return nil
	})
}

func TestXDSServeRunsAFleet(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.shows(f.web, "web one")
	f.shows(f.batch, "batch one")

	t.Log("a file changes")
	f.page("web", "web two")
	f.shows(f.web, "web two")
	f.shows(f.batch, "batch one")

	t.Log("a file breaks: its group keeps what it has, the other goes on")
	f.write("web/more.yaml", "\n\n\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: x\nconnect_timout: 1s\n")
	f.page("web", "web three")
	f.page("batch", "batch two")
	f.shows(f.batch, "batch two")
	f.shows(f.web, "web two")
	harness.EventuallyNil(t, "the status page tells of the error", func() error {
		s, err := f.status()
		if err == nil && (len(s.Load.Errors) != 1 || !strings.Contains(s.Load.Errors[0], "web/more.yaml:5:1: connect_timout")) {
			return fmt.Errorf("errors = %q", s.Load.Errors)
		}
		return err
	})
	if err := os.Remove(filepath.Join(f.dir, "web/more.yaml")); err != nil {
		t.Fatal(err)
	}
	f.shows(f.web, "web three")

	t.Log("the status page knows both")
	s, err := f.status()
	if err != nil || len(s.Clients) != 2 || s.Clients[0].Node != "weir-batch" || s.Clients[1].Group != "web" || s.Clients[1].Identity != "spiffe://fleet/weir" {
		t.Fatalf("status = %+v, %v", s, err)
	}
	for _, c := range s.Clients {
		for _, x := range c.Streams[0].Types {
			if x.Error != "" || x.Sent == "" {
				t.Errorf("%s: %+v", c.Node, x)
			}
		}
	}

	t.Log("the control plane is started again")
	f.server.Signal(syscall.SIGTERM)
	if got := f.server.Wait(); got.Status != 0 || !strings.Contains(got.Out, "weir-web") || !strings.Contains(got.Out, "ACK  RouteConfiguration") || !strings.Contains(got.Err, "web/more.yaml:5:1") {
		t.Fatalf("weirctl ended with %+v", got)
	}
	f.shows(f.web, "web three")
	f.page("web", "web four")
	f.serve()
	f.shows(f.web, "web four")
	f.shows(f.batch, "batch two")
}
