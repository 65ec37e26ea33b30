package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// floodServer waits for a connection that says something, and sends numbers of 8 bytes, in order, so many bytes of them or until
// nothing has moved for two seconds. Then it closes, and writes how many bytes those were into a file. Its arguments are the port,
// the number and the file.
const floodServer = `
import os, socket, struct, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
c = s.accept()[0]
while not c.recv(1): c = s.accept()[0]
c.settimeout(2)
sent, left = 0, int(sys.argv[2])
try:
    while left:
        b = b"".join(struct.pack(">Q", n) for n in range(sent // 8, (sent + min(left, 64000)) // 8))
        view = memoryview(b)
        while len(view):
            n = c.send(view)
            view, sent, left = view[n:], sent + n, left - n
except (TimeoutError, ConnectionError): pass
with open(sys.argv[3] + ".new", "w") as f: f.write(str(sent))
os.rename(sys.argv[3] + ".new", sys.argv[3])
c.close()
`

// lateReader connects, and reads when a file is there. It says how many bytes there were until the end, if they are the numbers
// of floodServer from the first one on.
const lateReader = `
import os, socket, struct, sys, time
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
c.sendall(b"x")
with open(sys.argv[3] + ".up", "w"): pass
while not os.path.exists(sys.argv[3]): time.sleep(0.01)
data = bytearray()
try:
    while True:
        b = c.recv(100000)
        if not b: break
        data += b
except ConnectionError: pass
for at, (n,) in enumerate(struct.iter_unpack(">Q", data[:len(data) // 8 * 8])):
    if n != at: sys.exit("number %d stands where %d belongs, of %d bytes" % (n, at, len(data)))
print(len(data))
`

// flood is a server that sends and a client that does not read yet.
type flood struct {
	t              *testing.T
	client         *harness.Process
	stalled, begin string // files
}

// flood has the server send so many bytes, and waits until it has, or cannot go on.
func (h *fastHouse) flood(bytes int) *flood {
	h.t.Helper()
	dir := harness.Dir(h.t)
	f := &flood{t: h.t, stalled: filepath.Join(dir, "stalled"), begin: filepath.Join(dir, "begin")}
	h.serve(floodServer, fastTCPPort, strconv.Itoa(bytes), f.stalled)
	ip, port, _ := strings.Cut(fastTCP, ":")
	f.client = h.host.App().In(h.group).Start("python3", "-I", "-c", lateReader, ip, port, f.begin)
	return f
}

// sent is how much the server got rid of, once it has ended.
func (f *flood) sent() int {
	f.t.Helper()
	var text []byte
	harness.EventuallyNil(f.t, "the server ends", func() (err error) {
		text, err = os.ReadFile(f.stalled)
		return err
	})
	n, err := strconv.Atoi(string(text))
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// read has the client read, and gives how much it got.
func (f *flood) read() int {
	f.t.Helper()
	harness.WriteFile(f.t, f.begin, "")
	r := f.client.Wait()
	n, err := strconv.Atoi(strings.TrimSpace(r.Out))
	if err != nil {
		f.t.Fatalf("the reader: status %d, %q\n%s", r.Status, r.Out, r.Err)
	}
	return n
}

// modes calls f for each mode that accelerates, and for none.
func modes(t *testing.T, f func(t *testing.T, h *fastHouse)) {
	for mode, fields := range map[string]string{
		"off": "", "receive": "mode: RECEIVE, applications: [GROUP], min_operations: 1", "full": "mode: FULL, applications: [GROUP], min_operations: 1",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f(t, newFastHouse(t, fields))
		})
	}
}

// TestAccelerationOfAReaderThatStops: the sender has to wait, and nothing is lost when the reader goes on.
func TestAccelerationOfAReaderThatStops(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, h *fastHouse) {
		f := h.flood(1 << 30)
		sent := f.sent()
		if sent > 64<<20 {
			t.Errorf("%d bytes are unread", sent)
		}
		if got := f.read(); got != sent {
			t.Errorf("the reader got %d bytes of %d", got, sent)
		}
	})
}

// TestAccelerationOfAKilledWeir: what the reader gets is the beginning of what was sent, without a gap.
func TestAccelerationOfAKilledWeir(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, h *fastHouse) {
		f := h.flood(1 << 30)
		sent := f.sent()
		h.weir.Kill()
		if got := f.read(); got > sent {
			t.Errorf("the reader got %d bytes of %d", got, sent)
		}
	})
}

// TestAccelerationOutlivedByReader: what weir has passed on before it ended is there for a reader that comes late.
func TestAccelerationOutlivedByReader(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, h *fastHouse) {
		const size = 400_000
		f := h.flood(size)
		if sent := f.sent(); sent != size {
			t.Fatalf("the server sent %d bytes of %d", sent, size)
		}
		h.weir.AwaitStat("tcp.tcp.downstream_cx_tx_bytes_total", func(n int) bool { return n == size })
		if status := h.weir.Stop(); status != 0 {
			t.Errorf("weir ended with status %d", status)
		}
		if got := f.read(); got != size {
			t.Errorf("the reader got %d bytes of %d", got, size)
		}
	})
}

// TestAccelerationFollowsCgroups that come after weir.
func TestAccelerationFollowsCgroups(t *testing.T) {
	t.Parallel()
	h := newFastHouse(t, "mode: FULL, applications: [GROUP/inner-*], min_operations: 1")
	if page := h.page(); len(page.Applications) != 0 || !slices.Equal(page.MissingCgroups, []string{h.group.Name + "/inner-*"}) {
		t.Errorf("applications %q, missing %q", page.Applications, page.MissingCgroups)
	}
	inner := h.group.Dir + "/inner-1"
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { harness.EventuallyNil(t, "the cgroup is empty", func() error { return os.Remove(inner) }) })
	harness.Eventually(t, "the cgroup is attached to", func() bool {
		page := h.page()
		return slices.Equal(page.Applications, []string{h.group.Name + "/inner-1"}) && len(page.MissingCgroups) == 0
	})
}

// TestAccelerationSparesWeir leaves out the cgroup that weir itself is in.
func TestAccelerationSparesWeir(t *testing.T) {
	t.Parallel()
	page := newFastHouse(t, "mode: FULL, applications: [/]").page()
	if len(page.Applications) != 0 {
		t.Errorf("applications %q", page.Applications)
	}
	wantContains(t, "the problem", page.Problem, "weir itself is in the cgroup / of acceleration.applications")
}

// TestAccelerationNotPossible goes on without when weir may not load programs.
func TestAccelerationNotPossible(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{harness.Listener{Name: "tcp", Address: "127.0.0.1:9000", Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()},
			Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr))},
			More: `bootstrap_extensions: [{name: weir.interception, typed_config: {"@type": type.googleapis.com/weir.interception.v1.Interception,` +
				` acceleration: {mode: FULL, applications: [shop.slice]}}}]`,
		}.YAML(),
		Bare: true, User: harness.Nobody,
	})
	wantContains(t, "the log", weir.Log(), "less is accelerated than acceleration.mode asks for", "asked=FULL mode=OFF")
	if got := host.App().Connect(harness.Connect{To: "127.0.0.1:9000", HalfClose: true}); got.Received != "hello" {
		t.Errorf("got %+v", got)
	}
}
