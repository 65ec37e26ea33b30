package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// inboundServer listens where its arguments say, FAMILY ADDRESS PORT, and answers each request with its name and the client's
// address as it sees them.
const inboundServer = `
import http.server, socket, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("app " + self.client_address[0] + " " + self.request.getsockname()[0]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
`

// house is a host with weir and a captured cgroup, and a client on another host.
type house struct {
	t         *testing.T
	near, far *harness.Host
	weir      *harness.Weir
	group     *harness.Cgroup
}

const (
	houseNet          = "198.51.100.0/30" // none that the machine of the tests may have itself, whom explain would mean then
	nearAddr, farAddr = "198.51.100.1", "198.51.100.2"
	near6Addr         = "fd00:50::1"
)

// virtualInbound is what control planes send: one listener for whatever comes in, with a chain for the port that speaks HTTP and
// one for all others.
func virtualInbound(more string) string {
	manager := harness.HTTPManager("route_config: " + harness.RouteConfig("in",
		`{match: {prefix: /}, route: {cluster: inbound}, response_headers_to_add: [{header: {key: x-weir, value: "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}]}`))
	return harness.Listener{
		Name: "virtualInbound", Address: "0.0.0.0:15006", OriginalDst: true,
		More: "traffic_direction: INBOUND" + more,
		Chains: []string{
			harness.Chain(manager, "name: http, filter_chain_match: {destination_port: 8080}"),
			harness.Chain(harness.TCP("inbound"), "name: tcp"),
		},
	}.YAML()
}

func newHouse(t *testing.T, interception string, listeners ...string) *house {
	t.Helper()
	harness.NeedInterception(t)
	h := &house{t: t, near: harness.NewHost(t).AddAddress(near6Addr), far: harness.NewHost(t), group: harness.NewCgroup(t)}
	harness.Link(h.near, h.far, houseNet)
	h.weir = h.near.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: listeners, Clusters: []string{harness.OriginalDstCluster("inbound")},
		}.YAML(),
		Capture: []*harness.Cgroup{h.group}, Interception: interception,
	})
	return h
}

// serve starts a server, in the captured cgroup or outside, and waits until it answers on loopback, which is not captured.
func (h *house) serve(captured bool, addr, port string) *harness.Process {
	h.t.Helper()
	app := h.near.App()
	if captured {
		app = app.In(h.group)
	}
	p := app.Start("python3", "-I", "-c", inboundServer, addr, port)
	probe := map[bool]string{true: "[::1]", false: "127.0.0.1"}[strings.Contains(addr, ":")]
	harness.Eventually(h.t, "the server answers", func() bool {
		c, err := h.near.Dial(h.t.Context(), "tcp", probe+":"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

// answer is what a request is answered with: the body, and what weir added.
func answer(t *testing.T, from *harness.Host, addr string) (body, weir string, err error) {
	t.Helper()
	return answerWithin(t, from, addr, harness.Patience)
}

func answerWithin(t *testing.T, from *harness.Host, addr string, timeout time.Duration) (body, weir string, err error) {
	t.Helper()
	client := from.Client()
	client.Timeout = timeout
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + addr + "/")
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	buf := make([]byte, 200)
	n, _ := resp.Body.Read(buf)
	if resp.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("status %d: %s", resp.StatusCode, buf[:n])
	}
	return string(buf[:n]), resp.Header.Get("X-Weir"), nil
}

// want fails unless a request is answered by the application, through weir if it is not empty.
func (h *house) want(from *harness.Host, addr, body, weir string) {
	h.t.Helper()
	gotBody, gotWeir, err := answer(h.t, from, addr)
	if err != nil || !strings.HasPrefix(gotBody, body) || gotWeir != weir {
		h.t.Errorf("%s: %q, through weir %q (%v); want %q, %q", addr, gotBody, gotWeir, err, body, weir)
	}
}

func TestInbound(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "inbound: {}", virtualInbound(""))
	server := h.serve(true, "0.0.0.0", "8080")
	h.serve(false, "0.0.0.0", "8081")

	// It comes from another host, goes through weir, which sees where it was going, and reaches the application once.
	h.want(h.far, nearAddr+":8080", "app "+nearAddr, nearAddr+":8080 "+farAddr)
	// So does what comes from the host itself, but by loopback.
	h.want(h.near, nearAddr+":8080", "app "+nearAddr, nearAddr+":8080 "+nearAddr)
	h.want(h.near, "127.0.0.1:8080", "app 127.0.0.1", "")
	// Another process's server is left alone.
	h.want(h.far, nearAddr+":8081", "app "+farAddr, "")
	// One that came back would be counted again.
	if n := h.weir.Stat("cluster.inbound.upstream_rq_total"); n != 2 {
		t.Errorf("weir made %d requests for 2", n)
	}
	h.weir.AwaitStat("weir.inbound.captured", func(n int) bool { return n == 2 })
	h.weir.AwaitStat("weir.inbound.own", func(n int) bool { return n >= 1 })
	if n := h.weir.Stat("weir.listener.captured_from_self"); n != 0 {
		t.Errorf("%d connections came back to weir", n)
	}

	var status struct {
		Inbound struct {
			Active     bool
			Namespaces []struct {
				Places []struct{ Address string }
			}
			Rules   []struct{ Prefix, Listener string }
			Reasons []struct {
				Reason string
				Count  int
			}
		}
	}
	h.weir.JSON("/weir/interception", &status)
	in := status.Inbound
	if !in.Active || len(in.Namespaces) != 1 || len(in.Namespaces[0].Places) != 1 || in.Namespaces[0].Places[0].Address != "0.0.0.0:8080" ||
		len(in.Rules) != 2 || in.Rules[0].Listener != "virtualInbound" || len(in.Reasons) == 0 {
		t.Errorf("/weir/interception shows %+v", in)
	}

	// The server ends, and comes again.
	server.Signal(9)
	server.Wait()
	if _, _, err := answer(t, h.far, nearAddr+":8080"); err == nil {
		t.Error("answered without a server")
	}
	h.serve(true, "0.0.0.0", "8080")
	h.want(h.far, nearAddr+":8080", "app "+nearAddr, nearAddr+":8080 "+farAddr)

	// Weir is killed: the service is still there.
	h.weir.Kill()
	h.want(h.far, nearAddr+":8080", "app "+farAddr, "")
}

func TestInboundFamilies(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "inbound: {}", virtualInbound(", additional_addresses: [{address: "+harness.Address("[::]:15006")+"}]"))
	h.serve(true, "::", "8080")
	h.want(h.near, "["+near6Addr+"]:8080", "app "+near6Addr, "["+near6Addr+"]:8080 "+near6Addr)
	// Whether a socket on :: takes IPv4 is found out after it has begun.
	harness.Eventually(t, "IPv4 is captured, too", func() bool {
		_, weir, err := answer(t, h.far, nearAddr+":8080")
		return err == nil && weir == nearAddr+":8080 "+farAddr
	})
	h.want(h.near, "[::ffff:"+nearAddr+"]:8080", "app ::ffff:"+nearAddr, nearAddr+":8080 "+nearAddr)
}

// Plain TCP, whatever the port, and a server that was there before weir.
func TestInboundTCP(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	near, far, group := harness.NewHost(t), harness.NewHost(t), harness.NewCgroup(t)
	harness.Link(near, far, houseNet)
	h := &house{t: t, near: near, far: far, group: group}
	h.serve(true, "0.0.0.0", "9000")
	h.weir = near.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{virtualInbound("")}, Clusters: []string{harness.OriginalDstCluster("inbound")},
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	h.want(far, nearAddr+":9000", "app "+nearAddr, "")
	if n := h.weir.Stat("tcp.tcp.downstream_cx_total"); n != 1 {
		t.Errorf("weir proxied %d connections", n)
	}
}

// Listeners that are not bound take what comes to their address, and nothing else is captured.
func TestInboundByAddress(t *testing.T) {
	t.Parallel()
	manager := harness.HTTPManager("route_config: " + harness.RouteConfig("in",
		`{match: {prefix: /}, route: {cluster: inbound}, response_headers_to_add: [{header: {key: x-weir, value: "%FILTER_CHAIN_NAME%"}}]}`))
	listener := func(name, addr string) string {
		return harness.Listener{
			Name: name, Address: addr, Virtual: true, More: "traffic_direction: INBOUND",
			Chains: []string{harness.Chain(manager, "name: "+name)},
		}.YAML()
	}
	h := newHouse(t, "inbound: {exclude: [{ports: [8082]}]}", listener("exact", nearAddr+":8080"), listener("any", "0.0.0.0:8081"), listener("excluded", "0.0.0.0:8082"))
	for port, weir := range map[string]string{"8080": "exact", "8081": "any", "8082": "", "8083": ""} {
		h.serve(true, "0.0.0.0", port)
		body := map[bool]string{true: "app " + nearAddr, false: "app " + farAddr}[weir != ""]
		h.want(h.far, nearAddr+":"+port, body, weir)
	}
}

func TestInboundOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `inbound: {mode: "OFF"}`, virtualInbound(""))
	h.serve(true, "0.0.0.0", "8080")
	h.want(h.far, nearAddr+":8080", "app "+farAddr, "")
}

func TestInboundLoopback(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "inbound: {include: [{prefix: 127.0.0.0/8, ports: [8080]}], include_loopback: true}", virtualInbound(""))
	h.serve(true, "0.0.0.0", "8080")
	h.want(h.near, "127.0.0.1:8080", "app 127.0.0.1", "127.0.0.1:8080 127.0.0.1")
	h.want(h.far, nearAddr+":8080", "app "+farAddr, "")
}

// Where nobody listens a client is refused by the kernel: weir does not accept for a server that is not there.
func TestInboundWithoutServer(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "inbound: {include_loopback: true}", virtualInbound(""))
	if _, err := h.far.Dial(t.Context(), "tcp", nearAddr+":8080"); err == nil {
		t.Error("connected without a server")
	}
	if n := h.weir.Stat("cluster.inbound.upstream_cx_total"); n != 0 {
		t.Errorf("weir made %d connections", n)
	}
}

// Inbound listeners have no part in what leaves captured processes, whether they are bound or not.
func TestInboundIsNotOutbound(t *testing.T) {
	t.Parallel()
	byAddress := harness.Listener{
		Name: "by-address", Address: "0.0.0.0:8081", Virtual: true, More: "traffic_direction: INBOUND",
		Chains: []string{harness.Chain(harness.TCP("inbound"))},
	}.YAML()
	outbound := harness.Listener{
		Name: "outbound", Address: "10.99.0.1:80", Virtual: true, More: "traffic_direction: OUTBOUND",
		Chains: []string{harness.Chain(harness.TCP("inbound"))},
	}.YAML()
	h := newHouse(t, "inbound: {}", virtualInbound(""), byAddress, outbound)
	for _, port := range []string{"8080", "8081", "15006"} {
		server := h.far.HTTPBackend("far", farAddr+":"+port)
		wantOK(t, h.near.App().In(h.group).Curl("http://"+server.Addr.String()+"/"), "far")
	}
	if n := h.weir.Stat("listener_manager.total_listeners_active"); n != 3 {
		t.Errorf("%d listeners", n)
	}
	if n := h.weir.Stat("cluster.inbound.upstream_cx_total"); n != 0 {
		t.Errorf("weir made %d connections for what left", n)
	}
}
