package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// The addresses that the applications of a fast house call, and where they listen.
const (
	fastTCP, fastWeb       = "10.99.0.7:9000", "10.99.0.7:80"
	fastTCPPort, fastWPort = "9000", "8000"
)

// bulkServer takes connections, each of which sends bytes to the end; it answers with their SHA-256 in hex, so many bytes of its
// own, and the SHA-256 of those. Its arguments are the port and the number of bytes.
const bulkServer = `
import hashlib, os, random, socket, sys, threading
s = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
print("up", flush=True)
def serve(c):
    got = hashlib.sha256()
    while True:
        b = c.recv(random.randrange(1, 200000))
        if not b: break
        got.update(b)
    c.sendall(got.hexdigest().encode())
    own, left = hashlib.sha256(), int(sys.argv[2])
    while left:
        b = os.urandom(min(left, random.randrange(1, 100000)))
        own.update(b)
        c.sendall(b)
        left -= len(b)
    c.sendall(own.hexdigest().encode())
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],)).start()
`

// bulkClient sends so many bytes on each of so many connections at once, closes its side, and compares what comes back.
const bulkClient = `
import hashlib, os, random, socket, sys, threading
bad = []
def once():
    c = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
    own, left = hashlib.sha256(), int(sys.argv[3])
    while left:
        b = os.urandom(min(left, random.randrange(1, 100000)))
        own.update(b)
        c.sendall(b)
        left -= len(b)
    c.shutdown(socket.SHUT_WR)
    data = bytearray()
    while True:
        b = c.recv(random.randrange(1, 200000))
        if not b: break
        data += b
    if data[:64].decode() != own.hexdigest(): bad.append("the server got something else")
    if data[-64:].decode() != hashlib.sha256(data[64:-64]).hexdigest(): bad.append("the client got something else")
    if len(data) != int(sys.argv[4]) + 128: bad.append("the client got %d bytes" % len(data))
def watched():
    try: once()
    except Exception as e: bad.append(repr(e))
threads = [threading.Thread(target=watched) for _ in range(int(sys.argv[5]))]
for t in threads: t.start()
for t in threads: t.join()
print("; ".join(bad) or "ok")
`

// echoServer answers POST with its body.
const echoServer = `
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
print("up", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`

// echoClient posts so many bodies of random sizes on one connection, and compares.
const echoClient = `
import http.client, os, random, sys
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
for n in range(int(sys.argv[3])):
    body = os.urandom(random.choice([0, 1, 1000, 70000, 300000]))
    c.request("POST", "/", body)
    r = c.getresponse()
    if r.status != 200 or r.read() != body:
        sys.exit("request %d: status %d, or another body" % (n, r.status))
print("ok")
`

// fastHouse is a host with weir, and applications in a captured cgroup on both sides of it.
type fastHouse struct {
	t     *testing.T
	host  *harness.Host
	weir  *harness.Weir
	group *harness.Cgroup
}

// newFastHouse starts weir with fields of acceleration; GROUP in them stands for the cgroup.
func newFastHouse(t *testing.T, acceleration string, flags ...string) *fastHouse {
	t.Helper()
	harness.NeedInterception(t)
	h := &fastHouse{t: t, host: harness.NewHost(t), group: harness.NewCgroup(t)}
	h.weir = h.host.StartWeir(h.options(acceleration, flags...))
	return h
}

// options are those of a weir of the house.
func (h *fastHouse) options(acceleration string, flags ...string) harness.WeirOptions {
	web := harness.HTTPManager("route_config: " + harness.RouteConfig("web", `{match: {prefix: /}, route: {cluster: web, timeout: 30s}}`))
	return harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{
				harness.Listener{Name: "tcp", Address: fastTCP, Virtual: true, Chains: []string{harness.Chain(harness.TCP("tcp"))}}.YAML(),
				harness.Listener{Name: "web", Address: fastWeb, Virtual: true, Chains: []string{harness.Chain(web)}}.YAML(),
			},
			Clusters: []string{
				harness.Cluster("tcp", harness.To(netip.MustParseAddrPort("127.0.0.1:"+fastTCPPort))), harness.Cluster("web", harness.To(netip.MustParseAddrPort("127.0.0.1:"+fastWPort))),
			},
		}.YAML(),
		Capture: []*harness.Cgroup{h.group}, Flags: flags,
		Interception: `offload: {mode: "OFF"}, acceleration: {` + strings.ReplaceAll(acceleration, "GROUP", h.group.Name) + "}",
	}
}

// serve starts a server in the cgroup and waits until it listens.
func (h *fastHouse) serve(program string, args ...string) *harness.Process {
	h.t.Helper()
	p := h.host.App().In(h.group).Start(append([]string{"python3", "-I", "-c", program}, args...)...)
	harness.Eventually(h.t, "the server listens", func() bool {
		c, err := h.host.Dial(h.t.Context(), "tcp", "127.0.0.1:"+args[0])
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	return p
}

// bulk has clients in the cgroup send and receive so many bytes on so many connections, through weir.
func (h *fastHouse) bulk(sent, received, connections int) {
	h.t.Helper()
	ip, port, _ := strings.Cut(fastTCP, ":")
	wantOK(h.t, h.host.App().In(h.group).Python(bulkClient, ip, port, fmt.Sprint(sent), fmt.Sprint(received), fmt.Sprint(connections)), "ok")
}

// acceleration is what /weir/interception says.
type acceleration struct {
	Asked, Mode, Why              string
	Cgroups, Applications, Doors  []string
	MissingCgroups                []string `json:"missing_cgroups"`
	Problem                       string
	Active, Accelerated, Messages int
	Bytes, Sockets                int
	Fallbacks                     map[string]int
	NotTaken                      map[string]int `json:"not_taken"`
	NotAccelerated                map[string]int `json:"not_accelerated"`
}

// page reads it.
func (h *fastHouse) page() acceleration {
	h.t.Helper()
	var page struct{ Acceleration acceleration }
	h.weir.JSON("/weir/interception", &page)
	return page.Acceleration
}
